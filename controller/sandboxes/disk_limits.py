"""What a pod may hold on its cell's disk, by its spec. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from controller.choice.quantity import quantity

Json = dict[str, Any]
MEMORY = "Memory"
NAME = "ephemeral-storage"


def on_disk(spec: Json) -> list[str]:
    """The volumes that begin empty and are not in memory."""
    return [
        one["name"]
        for one in spec.get("volumes") or ()
        if "emptyDir" in one and (one["emptyDir"] or {}).get("medium") != MEMORY
    ]


def bounded(spec: Json) -> dict[str, str | int]:
    """The limits of such volumes, of those that have one, as they are written."""
    disk = set(on_disk(spec))
    return {
        one["name"]: limit
        for one in spec.get("volumes") or ()
        if one["name"] in disk and (limit := (one["emptyDir"] or {}).get("sizeLimit")) not in (None, 0, "0")
    }


def limit_of(container: Json) -> str | int | None:
    """A container's limit as it is written, if it has one."""
    return ((container.get("resources") or {}).get("limits") or {}).get(NAME)


def limits(spec: Json) -> dict[str, str | int]:
    """The limits of containers, of those that have one."""
    return {one["name"]: limit for one in spec["containers"] if (limit := limit_of(one)) is not None}


def whole(spec: Json) -> Decimal | None:
    """What a pod may hold in all, in bytes: the sum of its containers, or of its largest init container; None is no
    limit.
    """
    if not (own := limits(spec)):
        return None
    return max(sum(map(quantity, own.values()), Decimal(0)), *_first(spec), Decimal(0))


def _first(spec: Json) -> Iterator[Decimal]:
    for one in spec.get("initContainers") or ():
        if (limit := limit_of(one)) is not None:
            yield quantity(limit)
