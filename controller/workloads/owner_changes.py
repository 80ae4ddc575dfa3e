"""Who takes over objects that nobody controls, and who lets go of what it no longer selects: by labels. Pure.

So what was left behind by `kubectl delete --cascade=orphan` belongs to the next workload with the same selector.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from controller.objects.fields import Json
from controller.objects.selectors import matches
from controller.workloads.steps import active, owner_reference

# Who selects objects of which kinds.
SELECTING: Mapping[str, tuple[str, ...]] = {
    "deployments.apps": ("replicasets.apps",),
    "replicasets.apps": ("pods",),
    "replicationcontrollers": ("pods",),
    "statefulsets.apps": ("pods", "controllerrevisions.apps"),
}


class OwnerChange(msgspec.Struct, frozen=True):
    """An object of a kind that gets this controller, or loses it."""

    key: str
    namespace: str
    name: str
    uid: str
    owner: Json
    leaves: bool = False

    def applied(self, one: Json) -> Json:
        """The object with its new owners; another one of its name, or one that got a controller, stays as it is."""
        metadata: Json = one["metadata"]
        references: list[Json] = metadata.get("ownerReferences") or []
        if metadata["uid"] != self.uid or (not self.leaves and _controller(one)):
            return one
        left = [each for each in references if each["uid"] != self.owner["uid"]]
        wanted = left if self.leaves else [*left, self.owner]
        return {**one, "metadata": {**metadata, "ownerReferences": wanted}}


def plan(key: str, owners: Sequence[Json], below: str, objects: Sequence[Json]) -> Iterator[OwnerChange]:
    """What changes hands between these owners of one kind and these objects of another."""
    alive = [one for one in owners if not one["metadata"].get("deletionTimestamp")]
    by_uid = {one["metadata"]["uid"]: one for one in alive}
    for one in objects if alive else ():
        metadata: Json = one["metadata"]
        if metadata.get("deletionTimestamp"):
            continue
        if held := _controller(one):
            owner = by_uid.get(held["uid"])
            if owner is not None and below != "controllerrevisions.apps" and not _selects(owner, one):
                yield _adoption(below, one, owner, leaves=True)
        elif below != "pods" or active(one):
            for owner in alive:
                if _selects(owner, one) and (key != "statefulsets.apps" or below != "pods" or _member(owner, one)):
                    yield _adoption(below, one, owner)
                    break


def _adoption(key: str, one: Json, owner: Json, *, leaves: bool = False) -> OwnerChange:
    metadata: Json = one["metadata"]
    return OwnerChange(key, metadata["namespace"], metadata["name"], metadata["uid"], owner_reference(owner), leaves)


def _controller(one: Json) -> Json | None:
    return next((each for each in one["metadata"].get("ownerReferences") or () if each.get("controller")), None)


def _selects(owner: Json, one: Json) -> bool:
    """Whether the owner's selector, of labels alone with a replication controller, matches an object beside it."""
    if owner["metadata"]["namespace"] != one["metadata"]["namespace"]:
        return False
    selector: Json | None = owner["spec"].get("selector")
    if owner["kind"] == "ReplicationController":
        selector = {"matchLabels": selector} if selector else None
    return matches(selector, one["metadata"].get("labels"))


def _member(owner: Json, pod: Json) -> bool:
    """Whether a pod has a name that the set gives."""
    return bool(re.fullmatch(rf"{re.escape(owner['metadata']['name'])}-[0-9]+", pod["metadata"]["name"]))
