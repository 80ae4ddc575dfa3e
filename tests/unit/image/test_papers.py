"""The papers beside a disk: what is in it, from the records of dpkg and the pinned requirements."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from images import papers

REQUIREMENTS = """\
aiohttp==3.12.1 \\
    --hash=sha256:{} \\
    --hash=sha256:{}
left-pad==1.0 ; sys_platform == "win32" \\
    --hash=sha256:{}
""".format("a" * 64, "b" * 64, "c" * 64)
CURL = papers.Package(kind="deb", name="curl", version="8.1+deb13~1", architecture="amd64")
MANIFEST = papers.BakeManifest(
    commit="0" * 40,
    architecture="amd64",
    epoch=1_790_000_000,
    agent="0.1.0",
    disk_sha256="d" * 64,
    disk_bytes=1,
    data_bytes=1,
    preloaded=(),
    packages=(CURL,),
)


def test_only_python_packages_that_are_installed_are_in_the_papers_with_all_their_hashes() -> None:
    assert papers.python(REQUIREMENTS, ["aiohttp", "yarl"]) == (
        papers.Package(kind="pypi", name="aiohttp", version="3.12.1", sha256=("a" * 64, "b" * 64)),
    )


def test_another_version_and_what_is_missing_or_new_is_told_by_name() -> None:
    newer = msgspec.structs.replace(CURL, version="9")
    added = msgspec.structs.replace(CURL, name="wget")
    assert papers.differences(MANIFEST, [CURL]) == ()
    assert papers.differences(MANIFEST, [newer]) == ("curl: 8.1+deb13~1 then, 9 now",)
    assert papers.differences(MANIFEST, [added]) == (
        "curl: 8.1+deb13~1 then, not there now",
        "wget: not there then, 8.1+deb13~1 now",
    )


def test_the_bill_of_materials_names_every_package_by_its_address_and_says_that_the_image_contains_it() -> None:
    made = json.loads(papers.spdx(MANIFEST))
    assert made["spdxVersion"] == "SPDX-2.3"
    image, package = made["packages"]
    assert package["externalRefs"][0]["referenceLocator"] == "pkg:deb/debian/curl@8.1%2Bdeb13~1?arch=amd64"
    assert {
        "spdxElementId": image["SPDXID"],
        "relationshipType": "CONTAINS",
        "relatedSpdxElement": package["SPDXID"],
    } in made["relationships"]
    assert made["creationInfo"]["created"] == "2026-09-21T14:13:20Z"


def test_only_blocks_that_hold_anything_count_as_data(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(papers.BLOCK) + b"x" + bytes(papers.BLOCK))
    _, size, data = papers.measured(disk)
    assert (size, data) == (2 * papers.BLOCK + 1, papers.BLOCK)
