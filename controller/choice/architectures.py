"""For which processors images are built, read from what a registry answers. Pure.

An index names a platform for each image in it; a manifest alone names none, its configuration does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from cellwire import strangers_json
from cellwire.faults import Fault, Kind
from cellwire.platforms import Platform, rank

DOCKER_HUB, OLD_DOCKER_HUB = "docker.io", "index.docker.io"
# Processors that an instance can have; an index also holds entries for others, and for "unknown" (attestations).
KNOWN = ("amd64", "arm64")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Location(msgspec.Struct, frozen=True):
    """Location of an image: registry's host, repository, and the tag or digest that is wanted."""

    host: str
    repository: str
    wanted: str


def locate(image: str) -> Location:
    """The parts of an image reference as people write it. Checks no more than is needed to ask for it."""
    name, _, digest = image.partition("@")
    first, slash, rest = name.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    host, path = (first, rest) if is_host else (DOCKER_HUB, name)
    repository, _, tag = path.rpartition(":") if ":" in path.rsplit("/", 1)[-1] else (path, "", "latest")
    host = DOCKER_HUB if host == OLD_DOCKER_HUB else host
    if host == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not repository or any(sign in image for sign in "?#%\\ ") or ".." in image:
        raise Fault(Kind.INVALID, f"image {image!r}", "it is no image reference")
    return Location(host, repository, digest or tag)


def is_digest(text: str) -> bool:
    """Whether it is the SHA-256 digest of something."""
    return _DIGEST.fullmatch(text) is not None


def of_index(content: bytes) -> tuple[str, ...] | None:
    """The processors that an index has a Linux image for; None where it is no index."""
    manifests = _document(content).get("manifests")
    if not isinstance(manifests, list):
        return None
    offered = [_mapping(_mapping(each).get("platform")) for each in cast("list[object]", manifests)]
    return _known([_platform(each) for each in offered if each])


def unnamed(content: bytes) -> tuple[str, ...]:
    """The digests of those in an index that name no platform: indexes again, or manifests whose configuration does."""
    manifests = _document(content).get("manifests")
    listed = [_mapping(each) for each in cast("list[object]", manifests)] if isinstance(manifests, list) else []
    digests = [each.get("digest") for each in listed if not _mapping(each.get("platform"))]
    return tuple(digest for digest in digests if isinstance(digest, str) and _DIGEST.fullmatch(digest))


def config_digest(content: bytes) -> str:
    """The digest of a manifest's configuration; "" where it names none."""
    return str(_mapping(_document(content).get("config")).get("digest") or "")


def of_config(content: bytes) -> tuple[str, ...]:
    """The processors that one image runs on, from its configuration."""
    said = _platform(_document(content))
    return _known([said] if said.architecture else [])


def common(images: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The processors that all of a pod's images run on; those of which nothing is known (empty) have no say."""
    left = KNOWN
    told = False
    for offered in images:
        told = told or bool(offered)
        left = tuple(name for name in left if not offered or name in offered)
    return left if told else ()


def _known(offered: Iterable[Platform]) -> tuple[str, ...]:
    return tuple(name for name in KNOWN if any(rank(each, Platform("linux", name)) is not None for each in offered))


def _platform(said: Mapping[str, Any]) -> Platform:
    names = [said.get(name) for name in ("os", "architecture", "variant")]
    return Platform(*(name if isinstance(name, str) else "" for name in names))


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(strangers_json.decode(content))
    except msgspec.DecodeError:
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
