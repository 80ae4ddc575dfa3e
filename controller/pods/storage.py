"""Who holds more on a cell's disk than its pod allows, by a kubelet's rules and in its words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.choice.quantity import quantity
from controller.objects.fields import Json
from controller.pods.lifecycle import containers_of
from controller.pods.translate import MEMORY, log_folder, volumes_folder

EVICTED = "Evicted"
# As often as a kubelet looks.
EVERY = 10.0
# What is over its limit is given no longer.
GRACE = 1.0
_NAME = "ephemeral-storage"


class Held(msgspec.Struct, frozen=True):
    """Bytes on the cell's disk: of writable layers by container, and of folders by path."""

    layers: Mapping[str, int]
    folders: Mapping[str, int]


def limited(spec: Json) -> bool:
    """Whether anything of the pod is limited on disk."""
    return any(_limit(one) is not None for one, _ in containers_of(spec)) or bool(_bounded(spec))


def folders(pod: Json) -> dict[str, str]:
    """The folders to look at: volumes that begin empty, and logs; by what they are."""
    uid = pod["metadata"]["uid"]
    volumes = {f"volume {name}": f"{volumes_folder(uid)}/{name}" for name in _on_disk(pod["spec"])}
    return volumes | {f"log {one['name']}": log_folder(pod, one["name"]) for one, _ in containers_of(pod["spec"])}


def excess(pod: Json, held: Held) -> str:
    """Why the pod is to go; "" where it may stay."""
    spec = pod["spec"]
    for name, limit in _bounded(spec).items():
        if held.folders.get(f"volume {name}", 0) > quantity(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    used = {
        one["name"]: held.layers.get(one["name"], 0) + held.folders.get(f"log {one['name']}", 0)
        for one, _ in containers_of(spec)
    }
    limits = {one["name"]: limit for one in spec["containers"] if (limit := _limit(one)) is not None}
    if limits:
        whole = max(
            sum(map(quantity, limits.values())),
            *(quantity(limit) for one in spec.get("initContainers") or () if (limit := _limit(one)) is not None),
            quantity(0),
        )
        volumes = sum(held.folders.get(f"volume {name}", 0) for name in _on_disk(spec))
        if sum(used.values()) + volumes > whole:
            return (
                f"Pod ephemeral local storage usage exceeds the total limit of containers {_written(limits, whole)}. "
            )
    for one, _ in containers_of(spec):
        limit = _limit(one)
        if limit is not None and used[one["name"]] > quantity(limit):
            return f'Container {one["name"]} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def _written(limits: Mapping[str, str | int], whole: object) -> str:
    """The sum as it was written, where one container has all of it; else in bytes."""
    return str(next(iter(limits.values()))) if len(limits) == 1 else str(whole)


def _limit(container: Json) -> str | int | None:
    return ((container.get("resources") or {}).get("limits") or {}).get(_NAME)


def _on_disk(spec: Json) -> list[str]:
    return [
        one["name"]
        for one in spec.get("volumes") or ()
        if "emptyDir" in one and (one["emptyDir"] or {}).get("medium") != MEMORY
    ]


def _bounded(spec: Json) -> dict[str, str | int]:
    """The limits of volumes on disk that have one."""
    disk = set(_on_disk(spec))
    return {
        one["name"]: limit
        for one in spec.get("volumes") or ()
        if one["name"] in disk and (limit := (one["emptyDir"] or {}).get("sizeLimit")) not in (None, 0, "0")
    }
