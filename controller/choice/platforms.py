"""For which processors images are built, read from what a registry answers. Pure.

An index names a platform for each image in it; a manifest alone names none, its configuration does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from cellwire.faults import Fault, Kind

DOCKER_HUB = "docker.io"
# Processors that an instance can have; an index also holds entries for others, and for "unknown" (attestations).
KNOWN = ("amd64", "arm64")


class Location(msgspec.Struct, frozen=True):
    """Where an image is: registry's host, repository, and the tag or digest that is wanted."""

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
    if host == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not repository or any(sign in image for sign in "?#%\\ ") or ".." in image:
        raise Fault(Kind.INVALID, f"image {image!r}", "it is no image reference")
    return Location(host, repository, digest or tag)


def of_index(content: bytes) -> tuple[str, ...] | None:
    """The processors that an index has a Linux image for; None where it is no index."""
    manifests = _document(content).get("manifests")
    if not isinstance(manifests, list):
        return None
    platforms = [_mapping(_mapping(each).get("platform")) for each in cast("list[object]", manifests)]
    offered = {str(each.get("architecture")) for each in platforms if each.get("os") == "linux"}
    return tuple(name for name in KNOWN if name in offered)


def config_digest(content: bytes) -> str:
    """The digest of a manifest's configuration; "" where it names none."""
    return str(_mapping(_document(content).get("config")).get("digest") or "")


def of_config(content: bytes) -> tuple[str, ...]:
    """The processor of one image, from its configuration."""
    named = _document(content).get("architecture")
    return tuple(name for name in KNOWN if name == named)


def common(images: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The processors that all of a pod's images run on; those of which nothing is known (empty) have no say."""
    left = KNOWN
    told = False
    for offered in images:
        told = told or bool(offered)
        left = tuple(name for name in left if not offered or name in offered)
    return left if told else ()


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(content))
    except (ValueError, RecursionError):
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
