"""Limits of a pod on its cell's disk, by its specification. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from controller.choice.quantity import quantity
from controller.objects.schema.base import Quantity
from controller.objects.schema.containers import AnyContainer
from controller.objects.schema.pods import PodSpec
from controller.objects.schema.volumes import EmptyDirVolumeSource

MEMORY = "Memory"
NAME = "ephemeral-storage"


def on_disk(spec: PodSpec) -> list[str]:
    """The volumes that begin empty and are not in memory."""
    return [name for name, _ in _empty(spec)]


def bounded(spec: PodSpec) -> dict[str, Quantity]:
    """The limits of such volumes, of those that have one, as they are written."""
    found = {name: volume.sizeLimit for name, volume in _empty(spec)}
    return {name: limit for name, limit in found.items() if limit is not None and limit not in (0, "0")}


def limit_of(container: AnyContainer) -> Quantity | None:
    """A container's limit as it is written, if it has one."""
    return container.resources.limits.get(NAME)


def limits(spec: PodSpec) -> dict[str, Quantity]:
    """The limits of containers, of those that have one."""
    return {one.name: limit for one in spec.containers if (limit := limit_of(one)) is not None}


def whole(spec: PodSpec) -> Decimal | None:
    """What a pod may hold in all, in bytes: the sum of its containers, or of its largest init container; None is no
    limit.
    """
    if not (own := limits(spec)):
        return None
    first = (quantity(limit) for one in spec.initContainers if (limit := limit_of(one)) is not None)
    return max(sum(map(quantity, own.values()), Decimal(0)), *first, Decimal(0))


def _empty(spec: PodSpec) -> Iterator[tuple[str, EmptyDirVolumeSource]]:
    for one in spec.volumes:
        if one.emptyDir is not None and one.emptyDir.medium != MEMORY:
            yield one.name, one.emptyDir
