"""Disk usage of pods that hold more of a cell's disk than they may, by a kubelet's rules and in its words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.choice.quantity import quantity
from controller.objects import disk_limits
from controller.objects.schema.base import Quantity
from controller.pods.lifecycle import containers_of
from controller.pods.run import PodRecord
from controller.pods.translate import log_folder, volumes_folder

EVICTED = "Evicted"
# As often as a kubelet looks.
EVERY = 10.0
# What is over its limit is given no longer.
GRACE = 1.0


class DiskUsage(msgspec.Struct, frozen=True):
    """Bytes on the cell's disk: of writable layers by container, and of folders by path."""

    layers: Mapping[str, int]
    folders: Mapping[str, int]


def limited(record: PodRecord) -> bool:
    """Whether anything of the pod is limited on disk."""
    spec = record.pod.spec
    of_containers = (disk_limits.limit_of(one) for one, _ in containers_of(spec))
    return bool(disk_limits.bounded(spec)) or any(limit is not None for limit in of_containers)


def folders(record: PodRecord) -> dict[str, str]:
    """The folders to look at: volumes that begin empty, and logs; by what they are."""
    pod = record.pod
    below = volumes_folder(pod.metadata.uid)
    volumes = {f"volume {name}": f"{below}/{name}" for name in disk_limits.on_disk(pod.spec)}
    return volumes | {f"log {one.name}": log_folder(pod, one.name) for one, _ in containers_of(pod.spec)}


def excess(record: PodRecord, held: DiskUsage) -> str:
    """Why the pod is to go; "" where it may stay."""
    spec = record.pod.spec
    containers = [one for one, _ in containers_of(spec)]
    for name, limit in disk_limits.bounded(spec).items():
        if held.folders.get(f"volume {name}", 0) > quantity(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    used = {one.name: held.layers.get(one.name, 0) + held.folders.get(f"log {one.name}", 0) for one in containers}
    if (whole := disk_limits.whole(spec)) is not None:
        volumes = sum(held.folders.get(f"volume {name}", 0) for name in disk_limits.on_disk(spec))
        if sum(used.values()) + volumes > whole:
            told = _written(disk_limits.limits(spec), whole)
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {told}. "
    for one in containers:
        limit = disk_limits.limit_of(one)
        if limit is not None and used[one.name] > quantity(limit):
            return f'Container {one.name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def _written(limits: Mapping[str, Quantity], whole: object) -> str:
    """The sum as it was written, where one container has all of it; else in bytes."""
    return str(next(iter(limits.values()))) if len(limits) == 1 else str(whole)
