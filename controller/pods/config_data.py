"""The ConfigMaps and Secrets that a pod takes values from: found by name, and their data as bytes. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable

from controller.objects.fields import Json

# An object by kind, namespace and name.
Lookup = Callable[[str, str, str], Json | None]
CONFIG_MAPS, SECRETS = "configmaps", "secrets"
SINGULAR = {CONFIG_MAPS: "configmap", SECRETS: "secret"}


class Missing(Exception):
    """An object, or a key of it, that the pod must have and that is not there (yet)."""


def found(lookup: Lookup, key: str, namespace: str, name: str, optional: bool | None) -> Json | None:  # noqa: FBT001
    """The object; None where it is optional and not there. Raises Missing."""
    one = lookup(key, namespace, name)
    if one is None and not optional:
        raise Missing(f'{SINGULAR[key]} "{name}" not found')
    return one


def config_map(one: Json | None) -> dict[str, bytes]:
    """What a ConfigMap holds, by key."""
    held: Json = one or {}
    texts = {key: value.encode() for key, value in (held.get("data") or {}).items()}
    return texts | {key: base64.b64decode(value) for key, value in (held.get("binaryData") or {}).items()}


def secret(one: Json | None) -> dict[str, bytes]:
    """What a Secret holds, by key."""
    return {key: base64.b64decode(value or "") for key, value in ((one or {}).get("data") or {}).items()}
