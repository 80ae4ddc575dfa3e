"""What goes beside a disk: a manifest of packages, versions and hashes, and the same as an SPDX 2.3 document."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import msgspec

from images.commands import run
from images.contents import RECORDS
from images.disk import identifier

_FIELDS = "${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\n"
_HASHES = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")
BLOCK = 512 << 10


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One package. `sha256` is of its list of files and their hashes for Debian's, of the archives for Python's."""

    kind: str
    name: str
    version: str
    architecture: str = ""
    source: str = ""
    sha256: tuple[str, ...] = ()


class BakeManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A baked disk: from what, and what it is. `data_bytes` is what a snapshot of it holds, in blocks of 512 KiB."""

    commit: str
    architecture: str
    epoch: int
    agent: str
    disk_sha256: str
    disk_bytes: int
    data_bytes: int
    preloaded: tuple[str, ...]
    packages: tuple[Package, ...]


def debian(tree: Path) -> tuple[Package, ...]:
    """The packages of a tree, by dpkg's own records or by ours of what was only unpacked, sorted."""
    lines = _unpacked(tree) or _installed(tree)
    made = (
        Package(kind="deb", name=name, version=version, architecture=architecture, source=source, sha256=tuple(digest))
        for name, version, architecture, source, *digest in (line.split("\t") for line in lines)
    )
    return tuple(sorted(made, key=lambda package: package.name))


def _unpacked(tree: Path) -> list[str]:
    file = tree / RECORDS
    return file.read_text().splitlines() if file.exists() else []


def _installed(tree: Path) -> list[str]:
    found: list[str] = []
    info = tree / "var/lib/dpkg/info"
    for line in run(["dpkg-query", "-W", f"-f={_FIELDS}"], root=tree).decode().splitlines():
        name, _, architecture, _ = line.split("\t")
        files = (info / f"{name}.md5sums", info / f"{name}:{architecture}.md5sums")
        sums = next((path for path in files if path.exists()), None)
        found.append(line + (f"\t{hashlib.sha256(sums.read_bytes()).hexdigest()}" if sums else ""))
    return found


def python(requirements: str, installed: Iterable[str]) -> tuple[Package, ...]:
    """The pinned packages of a requirements file that are installed: names as folders of dist-info say. Pure."""
    there = {_plain(name) for name in installed}
    found: list[Package] = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", requirements):
        match = _HASHES.match(block)
        if match and _plain(match["name"]) in there:
            sums = tuple(sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", block)))
            found.append(Package(kind="pypi", name=match["name"], version=match["version"], sha256=sums))
    return tuple(found)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def measured(disk: Path) -> tuple[str, int, int]:
    """A disk's SHA-256, its size, and the bytes of its blocks that hold anything."""
    whole, data, size = hashlib.sha256(), 0, 0
    zeros = bytes(BLOCK)
    with disk.open("rb") as file:
        while block := file.read(BLOCK):
            whole.update(block)
            size += len(block)
            data += len(block) if block != zeros[: len(block)] else 0
    return whole.hexdigest(), size, data


def differences(before: BakeManifest, packages: Iterable[Package]) -> tuple[str, ...]:
    """A line for each package that is not as in another bake. Pure."""
    old = {(one.kind, one.name): one.version for one in before.packages}
    new = {(one.kind, one.name): one.version for one in packages}
    return tuple(
        f"{name}: {old.get((kind, name), 'not there')} then, {new.get((kind, name), 'not there')} now"
        for kind, name in sorted(old.keys() | new.keys())
        if old.get((kind, name)) != new.get((kind, name))
    )


def spdx(manifest: BakeManifest) -> bytes:
    """The manifest as a software bill of materials, SPDX 2.3 in JSON. Pure."""
    created = datetime.datetime.fromtimestamp(manifest.epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    image = "SPDXRef-Image"
    packages = [
        {
            "SPDXID": image,
            "name": f"chinampa-cell-{manifest.architecture}",
            "versionInfo": manifest.agent,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "primaryPackagePurpose": "OPERATING-SYSTEM",
            "checksums": [{"algorithm": "SHA256", "checksumValue": manifest.disk_sha256}],
        },
        *(_spdx_package(number, package) for number, package in enumerate(manifest.packages)),
    ]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"chinampa-cell-{manifest.architecture}-{manifest.commit[:12]}",
        "documentNamespace": f"urn:uuid:{identifier(manifest.disk_sha256)}",
        "creationInfo": {"created": created, "creators": ["Tool: chinampa-images"]},
        "packages": packages,
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": image},
            *(
                {
                    "spdxElementId": image,
                    "relationshipType": "CONTAINS",
                    "relatedSpdxElement": f"SPDXRef-Package-{number}",
                }
                for number in range(len(manifest.packages))
            ),
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _spdx_package(number: int, package: Package) -> dict[str, object]:
    if package.kind == "deb":
        address = f"pkg:deb/debian/{package.name}@{quote(package.version, safe='~')}?arch={package.architecture}"
    else:
        address = f"pkg:pypi/{_plain(package.name)}@{package.version}"
    return {
        "SPDXID": f"SPDXRef-Package-{number}",
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": address}
        ],
    }
