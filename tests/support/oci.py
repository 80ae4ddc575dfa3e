"""Builds OCI images from dicts, in pure Python, and pushes them to a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import urljoin

import zstandard
from aiohttp import ClientSession

from tests.support.registry import basic_header

Compression = Literal["gzip", "zstd", "none"]
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_MEDIA = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "none": "application/vnd.oci.image.layer.v1.tar",
}
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class LayerEntry:
    """One entry of a layer that is more than a plain file. `kind` is a tarfile type."""

    kind: bytes = tarfile.REGTYPE
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    mtime: float = 1_700_000_000
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, str] = field(default_factory=dict[str, str])


def folder(mode: int = 0o755, uid: int = 0, gid: int = 0) -> LayerEntry:
    return LayerEntry(tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid)


def symlink(target: str) -> LayerEntry:
    return LayerEntry(tarfile.SYMTYPE, link=target, mode=0o777)


def hardlink(target: str) -> LayerEntry:
    return LayerEntry(tarfile.LNKTYPE, link=target)


@dataclass(frozen=True)
class Layer:
    """A layer as a registry has it."""

    blob: bytes
    diff_id: str
    media_type: str

    @property
    def digest(self) -> str:
        return digest(self.blob)


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def tar(entries: Mapping[str, bytes | LayerEntry] | Sequence[tuple[str, bytes | LayerEntry]]) -> bytes:
    """A tar archive of `entries`, in order; names are written as given."""
    out = io.BytesIO()
    pairs = entries.items() if isinstance(entries, Mapping) else entries
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, value in pairs:
            node = LayerEntry(content=value) if isinstance(value, bytes) else value
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = node.kind, node.mode, node.uid, node.gid
            info.mtime, info.linkname, info.size = node.mtime, node.link, len(node.content)
            info.devmajor, info.devminor = node.device
            info.pax_headers = {f"SCHILY.xattr.{key}": text for key, text in node.xattrs.items()}
            archive.addfile(info, io.BytesIO(node.content))
    return out.getvalue()


def layer(
    entries: Mapping[str, bytes | LayerEntry] | Sequence[tuple[str, bytes | LayerEntry]] | bytes,
    compression: Compression = "gzip",
) -> Layer:
    """A layer of `entries`, or of a ready tar archive."""
    content = entries if isinstance(entries, bytes) else tar(entries)
    match compression:
        case "gzip":
            blob = gzip.compress(content, 1, mtime=0)
        case "zstd":
            blob = zstandard.ZstdCompressor(level=1).compress(content)
        case "none":
            blob = content
    return Layer(blob, digest(content), _MEDIA[compression])


def config_of(layers: Sequence[Layer], config: Mapping[str, Any] | None = None, **top: object) -> bytes:
    """An image configuration for this machine's platform."""
    value = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
        **top,
    }
    return json.dumps(value, sort_keys=True).encode()


def manifest_of(layers: Sequence[Layer], config: bytes) -> bytes:
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config),
            "size": len(config),
        },
        "layers": [{"mediaType": one.media_type, "digest": one.digest, "size": len(one.blob)} for one in layers],
    }
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Pushed:
    """What a push made: `id` is the digest of the configuration, `digest` that of the manifest."""

    name: str
    id: str
    digest: str
    manifest: bytes
    layers: tuple[Layer, ...]


async def push_image(
    registry: str,
    name: str,
    layers: Sequence[Layer],
    config: Mapping[str, Any] | None = None,
    *,
    auth: Literal["basic", "token"] | None = None,
    **top: object,
) -> Pushed:
    """Push an image as `name` ("repository:tag"). `top` are further keys of its configuration."""
    repository, _, tag = name.partition(":")
    raw = config_of(layers, config, **top)
    manifest = manifest_of(layers, raw)
    async with Pushing(registry, repository, auth) as push:
        for blob in {*(one.blob for one in layers), raw}:
            await push.blob(blob)
        await push.manifest(tag or "latest", manifest, OCI_MANIFEST)
    return Pushed(f"{registry}/{repository}:{tag or 'latest'}", digest(raw), digest(manifest), manifest, tuple(layers))


async def push_index(registry: str, name: str, images: Mapping[str, Pushed], *more: Mapping[str, object]) -> str:
    """Push an index of images, by platform "os/architecture[/variant]" ("" names none), and `more`; its digest."""
    repository, _, tag = name.partition(":")
    entries: list[Mapping[str, object]] = []
    for text, image in images.items():
        words = dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))
        entry = {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest)}
        entries.append({**entry, "platform": words} if text else entry)
    entries += more
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    async with Pushing(registry, repository, None) as push:
        await push.manifest(tag or "latest", content, OCI_INDEX)
    return digest(content)


class Pushing:
    """A session that may write to one repository."""

    def __init__(self, registry: str, repository: str, auth: Literal["basic", "token"] | None) -> None:
        self._base = f"http://{registry}/v2/{repository}"
        self._repository = repository
        self._auth = auth

    async def __aenter__(self) -> Self:
        self._session = ClientSession()
        self._headers: dict[str, str] = {}
        if self._auth == "basic":
            self._headers["Authorization"] = basic_header()
        if self._auth == "token":
            async with self._session.get(f"{self._base}/tags/list") as refused:
                realm = refused.headers["WWW-Authenticate"].split('realm="')[1].split('"')[0]
            query = {"service": "test", "scope": f"repository:{self._repository}:pull,push"}
            async with self._session.get(realm, params=query, headers={"Authorization": basic_header()}) as given:
                self._headers["Authorization"] = "Bearer " + (await given.json())["token"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def blob(self, content: bytes) -> None:
        async with self._session.post(f"{self._base}/blobs/uploads/", headers=self._headers) as begun:
            begun.raise_for_status()
            place = urljoin(self._base, begun.headers["Location"])
        mark = "&" if "?" in place else "?"
        url = f"{place}{mark}digest={digest(content).replace(':', '%3A')}"
        async with self._session.put(url, data=io.BytesIO(content), headers=self._headers) as done:
            done.raise_for_status()

    async def manifest(self, tag: str, content: bytes, media_type: str) -> None:
        headers = {**self._headers, "Content-Type": media_type}
        async with self._session.put(f"{self._base}/manifests/{tag}", data=content, headers=headers) as done:
            done.raise_for_status()
