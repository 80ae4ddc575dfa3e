"""Annotations that reach beyond a pod's own cell: routes, groups, addresses and rights of the instance, money. Pure.

The role admin may write what it likes; everybody else only the values that the settings list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from cellwire.faults import Fault, Kind
from controller.api.people import ADMIN, Who
from controller.choice.requirements import PREFIX
from controller.objects.fields import Json
from controller.objects.resource import Resource

ANY = "*"


def _within(network: str, allowed: Sequence[str]) -> bool:
    try:
        first, last = _span(network)
        wide = [_span(one) for one in allowed if one != ANY]
    except ValueError:
        return False
    return any(low[0] == first[0] and low <= first and last <= high for low, high in wide)


def _span(network: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and the last address of a network, as version and number. Raises ValueError."""
    found = ip_network(network, strict=False)
    return (found.version, int(found.network_address)), (found.version, int(found.broadcast_address))


def _listed(value: str, allowed: Sequence[str]) -> bool:
    return value in allowed


CHECKS: Mapping[str, Callable[[str, Sequence[str]], bool]] = {
    "cloud-route": _within,
    "security-groups": _listed,
    "instance-profile": _listed,
    "capacity-reservation": _listed,
    "public-address": _listed,
    "metadata": _listed,
}
# These give something, or nothing where they say so: that anybody may write.
SWITCHES = frozenset({"public-address", "metadata"})
OFF = "false"


def check(who: Who, allowed: Mapping[str, Sequence[str]], resource: Resource, before: Json | None, after: Json) -> None:
    """Raises Fault DENIED where somebody writes a value that is not theirs to write."""
    if who.role == ADMIN and not who.namespace:
        return
    old = list(_annotations(before)) if before is not None else []
    for found in _annotations(after):
        for name, holds in CHECKS.items():
            text = found.get(f"{PREFIX}{name}")
            if text is None or any(one.get(f"{PREFIX}{name}") == text for one in old):
                continue
            values = [word.strip() for word in str(text).split(",") if word.strip()]
            mine = (*allowed.get(name, ()), *((OFF,) if name in SWITCHES else ()))
            if ANY not in mine and not all(holds(value, mine) for value in values):
                cause = f"is forbidden: the annotation {PREFIX}{name} {_rule(name, mine)}"
                raise Fault(Kind.DENIED, f'{resource.key} "{after["metadata"].get("name", "")}"', cause)


def _rule(name: str, mine: Sequence[str]) -> str:
    setting = f"api.others_{name.replace('-', '_')}"
    if name in SWITCHES:
        return f'may be "{OFF}" only, unless {setting} is true'
    listed = f"it lists {', '.join(mine)}" if mine else "it lists none"
    return f"may have the values of {setting} only; {listed}"


def _annotations(one: Any) -> Iterator[Json]:
    """Those of an object and of the templates in it."""
    if not isinstance(one, dict):
        return
    held: Json = one
    found = (held.get("metadata") or {}).get("annotations")
    if found:
        yield found
    spec: Json = held.get("spec") or {}
    for template in ("template", "jobTemplate"):
        yield from _annotations(spec.get(template))
