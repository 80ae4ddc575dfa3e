"""Tags as EC2 takes and tells them, and names made of values. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


def tags_of(described: Mapping[str, Any]) -> dict[str, str]:
    """Tags of anything that EC2 describes."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in described.get("Tags") or ()}


def fitting(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags within EC2's lengths: 128 characters a key, 256 a value."""
    return {key[:128]: value[:256] for key, value in sorted(tags.items())}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as EC2 writes them."""
    return [{"Key": key, "Value": value} for key, value in fitting(tags).items()]


def tag_specifications(tags: Mapping[str, str], kinds: Iterable[str]) -> list[dict[str, Any]]:
    """The same tags for each kind of resource."""
    return [{"ResourceType": kind, "Tags": tag_list(tags)} for kind in kinds]


def digest(*parts: object) -> str:
    """A short name for values: equal for equal ones, also in another process."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:40]
