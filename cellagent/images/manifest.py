"""Indexes, manifests and image configurations as a registry serves them, decoded and bounded. Pure.

OCI image index and manifest, Docker manifest list and manifest v2 schema 2. Every size and count that a hostile
registry could use against us has a limit here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from cellagent.images.image_source import ImageConfig
from cellagent.images.reference import is_digest
from cellwire import platforms
from cellwire.faults import Fault, Kind
from cellwire.platforms import Platform

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)

MANIFEST_LIMIT = 4 << 20
CONFIG_LIMIT = 8 << 20
INDEX_ENTRIES_LIMIT = 4096
CHOICES_LIMIT = 8
"""Entries of one index that are looked at."""
INDEX_DEPTH_LIMIT = 4
"""Indexes of indexes that are followed."""
LAYERS_LIMIT = 500
"""overlayfs stacks at most 500 lower folders."""
LAYER_SIZE_LIMIT = 64 << 30


class Descriptor(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}):
    """A pointer to content: its kind, digest and size in bytes."""

    media_type: str | None = ""
    digest: str = ""
    size: int = 0
    platform: Platform | None = None


class _Index(msgspec.Struct, frozen=True):
    manifests: list[Descriptor] | None = None


class _Manifest(msgspec.Struct, frozen=True):
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None


class _Kind(msgspec.Struct, frozen=True, rename={"media_type": "mediaType", "schema_version": "schemaVersion"}):
    schema_version: int = 0
    media_type: str = ""
    config: object = None
    manifests: object = None


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One image of one platform: its configuration and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


class _Settings(msgspec.Struct, frozen=True, rename="pascal"):
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    working_dir: str | None = None
    user: str | None = None
    stop_signal: str | None = None
    labels: dict[str, str | None] | None = None
    volumes: dict[str, msgspec.Raw] | None = None


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: list[str] | None = None


class _Config(msgspec.Struct, frozen=True):
    architecture: str | None = ""
    os: str | None = ""
    variant: str | None = ""
    config: _Settings | None = None
    rootfs: _RootFs | None = None


class DecodedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An image's configuration: for whom it is, what it runs, and the digests of its unpacked layers, lowest first."""

    platform: Platform
    config: ImageConfig
    diff_ids: tuple[str, ...]


def digest_of(content: bytes, like: str = "sha256:") -> str:
    """The digest of `content`, by the algorithm that the digest `like` names."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def is_index(content: bytes, media_type: str, thing: str) -> bool:
    """Whether `content` is an index or list (True) or the manifest of one image (False); others are refused."""
    kind = _decode(content, _Kind, thing)
    declared = kind.media_type or media_type.partition(";")[0].strip()
    if kind.schema_version == 1:
        raise Fault(
            Kind.UNSUPPORTED,
            thing,
            "the registry has it only as Docker manifest schema 1, which is obsolete",
            "push the image again with a current tool",
        )
    if kind.manifests is not None and kind.config is not None:
        raise _broken(thing, "its manifest claims to be an index and a manifest at once")
    if declared in {OCI_INDEX, DOCKER_LIST} or (kind.manifests is not None and declared not in ACCEPTED):
        return True
    if declared in {OCI_MANIFEST, DOCKER_MANIFEST} or kind.config is not None:
        return False
    raise Fault(
        Kind.UNSUPPORTED,
        thing,
        f"the registry answered with a manifest of the unknown kind {declared[:100]!r}",
        "name an OCI or Docker image",
    )


def choices(content: bytes, wanted: Platform, thing: str) -> tuple[Descriptor, ...]:
    """The entries of an index that suit `wanted`, the best first; last those that name no platform, which must be
    looked at. Raises Fault NOT_FOUND that lists what there is.
    """
    entries = _decode(content, _Index, thing).manifests or []
    if len(entries) > INDEX_ENTRIES_LIMIT:
        raise _broken(thing, f"its index has more than {INDEX_ENTRIES_LIMIT} entries")
    ranked = [(platforms.rank(each.platform, wanted), each) for each in entries if each.platform]
    suited = sorted(((order, each) for order, each in ranked if order is not None), key=lambda pair: pair[0])
    silent = [each for each in entries if not each.platform]
    found = [*(each for _, each in suited), *silent][:CHOICES_LIMIT]
    if not found:
        # Attestations are listed as platform unknown/unknown: nobody looks for those.
        there = sorted({str(e.platform) for e in entries if e.platform and e.platform.os not in {"", "unknown"}})
        raise unsuited(thing, f"it has no variant for {wanted} (it has {', '.join(there[:12]) or 'none'})")
    return tuple(check_descriptor(each, MANIFEST_LIMIT, thing) for each in found)


def unsuited(thing: str, cause: str) -> Fault:
    """The fault of an image that does not run on this machine."""
    return Fault(Kind.NOT_FOUND, thing, cause, "choose an image or an instance type of the fitting architecture")


def decode_manifest(content: bytes, thing: str) -> ImageManifest:
    """The manifest of one image, with every descriptor checked."""
    manifest = _decode(content, _Manifest, thing)
    if manifest.config is None or manifest.layers is None:
        raise _broken(thing, "its manifest names no configuration or no layers")
    if len(manifest.layers) > LAYERS_LIMIT:
        raise Fault(
            Kind.UNSUPPORTED, thing, f"it has {len(manifest.layers)} layers, more than {LAYERS_LIMIT}", "squash it"
        )
    check_descriptor(manifest.config, CONFIG_LIMIT, thing)
    for layer in manifest.layers:
        check_descriptor(layer, LAYER_SIZE_LIMIT, thing)
        kind = layer.media_type or ""
        if "encrypted" in kind or "tar" not in kind:
            raise Fault(
                Kind.UNSUPPORTED,
                thing,
                f"layer {layer.digest} has the kind {kind[:100]!r}, which cannot be unpacked",
                "name an image of tar layers (plain, gzip or zstd)",
            )
    return ImageManifest(config=manifest.config, layers=tuple(manifest.layers))


def decode_config(content: bytes, thing: str) -> DecodedConfig:
    """An image's configuration."""
    raw = _decode(content, _Config, thing)
    diff_ids = tuple(raw.rootfs.diff_ids or ()) if raw.rootfs else ()
    if not all(is_digest(d) and d.startswith("sha256:") for d in diff_ids):
        raise _broken(thing, "its configuration lists a layer by something that is no sha256 digest")
    said = raw.config or _Settings()
    return DecodedConfig(
        platform=Platform(raw.os, raw.architecture, raw.variant),
        config=ImageConfig(
            entrypoint=tuple(said.entrypoint or ()),
            cmd=tuple(said.cmd or ()),
            env=tuple(said.env or ()),
            working_dir=said.working_dir or "",
            user=said.user or "",
            stop_signal=said.stop_signal or "",
            labels={name: value or "" for name, value in (said.labels or {}).items()},
            volumes=tuple(said.volumes or ()),
        ),
        diff_ids=diff_ids,
    )


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """For each layer the digest that names it together with all layers below it."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


def check_descriptor(found: Descriptor, limit: int, thing: str) -> Descriptor:
    """`found`, if its digest is one and its size within `limit` bytes."""
    if not is_digest(found.digest):
        raise _broken(thing, f"its manifest names content by {found.digest[:100]!r}, which is no digest")
    if not 0 <= found.size <= limit:
        raise _broken(thing, f"{found.digest} claims {found.size} bytes where at most {limit} are accepted")
    return found


_T = TypeVar("_T", bound=msgspec.Struct)


def _decode(content: bytes, kind: type[_T], thing: str) -> _T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _broken(thing, f"the registry's answer is no valid manifest or configuration ({error})") from error


def _broken(thing: str, cause: str) -> Fault:
    return Fault(Kind.BROKEN, thing, cause, "push the image again, or tell the registry's owner")
