"""Which of the images that a reference leads to is pulled: through indexes, and indexes of indexes, to one manifest.

Who chose a manifest is trusted: the index that names its platform, or the person who named its digest. Only where
nobody did does the image's own configuration decide.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from cellagent.images import manifest
from cellagent.images.manifest import Descriptor
from cellagent.images.reference import Reference
from cellwire import platforms
from cellwire.faults import Fault, Kind
from cellwire.platforms import Platform

# What one pull asks for at most on its way through indexes.
MANIFESTS_LIMIT = 32


class PullSource(Protocol):
    """Source of manifests."""

    thing: str

    async def manifest(self, wanted: str) -> tuple[bytes, str, str]:
        """Content, media type and digest of what a tag or digest names."""
        ...

    async def small(self, descriptor: Descriptor, limit: int) -> bytes:
        """A small blob."""
        ...


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The image: `top` is the digest of what the reference named; `content` and `config` are the registry's bytes."""

    top: str
    content: bytes
    config: bytes
    manifest: manifest.ImageManifest
    decoded: manifest.DecodedConfig


class _Unsuited(Exception):
    """This entry leads to nothing that runs here; the next may."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class _Search:
    def __init__(self, source: PullSource, platform: Platform) -> None:
        self._source = source
        self._platform = platform
        self._left = MANIFESTS_LIMIT
        self.top = ""

    async def follow(self, wanted: str, *, trusted: bool, depth: int) -> Chosen:
        thing = self._source.thing
        if self._left == 0 or depth > manifest.INDEX_DEPTH_LIMIT:
            raise Fault(Kind.UNSUPPORTED, thing, "its index leads to indexes without end", "push it flat")
        self._left -= 1
        content, media_type, digest = await self._source.manifest(wanted)
        self.top = self.top or digest
        if not manifest.is_index(content, media_type, thing):
            return await self._image(content, trusted=trusted)
        refused: Fault | None = None
        for entry in manifest.choices(content, self._platform, thing):
            try:
                return await self.follow(entry.digest, trusted=entry.platform is not None, depth=depth + 1)
            except _Unsuited as unsuited:
                refused = refused or unsuited.fault
        raise _Unsuited(refused or manifest.unsuited(thing, f"it has no variant for {self._platform}"))

    async def _image(self, content: bytes, *, trusted: bool) -> Chosen:
        thing = self._source.thing
        found = manifest.decode_manifest(content, thing)
        config = await self._source.small(found.config, manifest.CONFIG_LIMIT)
        decoded = manifest.decode_config(config, thing)
        said = decoded.platform
        if not trusted and said.architecture and platforms.rank(said, self._platform) is None:
            raise _Unsuited(manifest.unsuited(thing, f"it is for {said} and this cell is {self._platform}"))
        if len(decoded.diff_ids) != len(found.layers):
            cause = f"its manifest has {len(found.layers)} layers and its configuration {len(decoded.diff_ids)}"
            fault = Fault(Kind.BROKEN, thing, cause, "push the image again; artifacts that are no images cannot be run")
            if trusted:
                raise fault
            raise _Unsuited(fault)
        return Chosen(top=self.top, content=content, config=config, manifest=found, decoded=decoded)


async def choose(source: PullSource, reference: Reference, platform: Platform) -> Chosen:
    """The image of `reference` for a machine that is `platform`. Raises Fault."""
    search = _Search(source, platform)
    try:
        return await search.follow(reference.wanted, trusted=bool(reference.digest), depth=0)
    except _Unsuited as unsuited:
        raise unsuited.fault from None
