"""Adoption and release by labels: which owner takes over objects that nobody controls, and lets go of others. Pure.

So what was left behind by `kubectl delete --cascade=orphan` belongs to the next workload with the same selector.
A change is decided for one moment and made at a later one: who makes it looks at both sides again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from controller.objects.fields import Json
from controller.objects.selectors import matches
from controller.workloads.steps import active, going, owner_reference

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

    def holds(self, owner: Json | None) -> bool:
        """Whether the controller is by now the one of the plan still. One that ends gets and loses nothing."""
        return owner is not None and owner["metadata"]["uid"] == self.owner["uid"] and not going(owner)

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
    alive = [one for one in owners if not going(one)]
    strays: list[Json] = []
    by_uid = {one["metadata"]["uid"]: one for one in alive}
    for one in objects if alive else ():
        if going(one):
            continue
        if held := _controller(one):
            owner = by_uid.get(held["uid"])
            if owner is not None and below != "controllerrevisions.apps" and not _selects(owner, one):
                yield _adoption(below, one, owner, leaves=True)
        elif below != "pods" or active(one):
            strays.append(one)
    near = _Near(alive if strays else ())
    for one in strays:
        for owner in near.owners(one):
            if _selects(owner, one) and (key != "statefulsets.apps" or below != "pods" or _member(owner, one)):
                yield _adoption(below, one, owner)
                break


class _Near:
    """Owners by namespace and by one label that their selectors ask for: the rarest, since many share `app: web`."""

    def __init__(self, owners: Sequence[Json]) -> None:
        self._labelled: dict[tuple[str, str, str], list[tuple[int, Json]]] = {}
        self._rest: dict[str, list[tuple[int, Json]]] = {}
        asked = [(one["metadata"]["namespace"], _asked(one)) for one in owners]
        often = Counter((namespace, *label) for namespace, labels in asked for label in labels)
        for place, (owner, (namespace, labels)) in enumerate(zip(owners, asked, strict=True)):
            rarest = min(((namespace, *label) for label in labels), key=often.__getitem__, default=None)
            listed = self._rest.setdefault(namespace, []) if rarest is None else self._labelled.setdefault(rarest, [])
            listed.append((place, owner))

    def owners(self, one: Json) -> Iterator[Json]:
        """The owners that may select an object, in the order in which they were given."""
        metadata: Json = one["metadata"]
        namespace, labels = metadata["namespace"], (metadata.get("labels") or {}).items()
        found = [each for label in labels for each in self._labelled.get((namespace, *label), ())]
        found += self._rest.get(namespace, ())
        return (owner for _, owner in sorted(found, key=lambda each: each[0]))


def _adoption(key: str, one: Json, owner: Json, *, leaves: bool = False) -> OwnerChange:
    metadata: Json = one["metadata"]
    return OwnerChange(key, metadata["namespace"], metadata["name"], metadata["uid"], owner_reference(owner), leaves)


def _controller(one: Json) -> Json | None:
    return next((each for each in one["metadata"].get("ownerReferences") or () if each.get("controller")), None)


def _selects(owner: Json, one: Json) -> bool:
    """Whether the owner's selector, of labels alone with a replication controller, matches an object beside it."""
    if owner["metadata"]["namespace"] != one["metadata"]["namespace"]:
        return False
    return matches(_selector(owner), one["metadata"].get("labels"))


def _selector(owner: Json) -> Json | None:
    selector: Json | None = owner["spec"].get("selector")
    if owner["kind"] == "ReplicationController":
        return {"matchLabels": selector} if selector else None
    return selector


def _asked(owner: Json) -> list[tuple[str, str]]:
    """The labels without which nothing is selected."""
    labels: Json = (_selector(owner) or {}).get("matchLabels") or {}
    return [(name, value) for name, value in labels.items() if isinstance(value, str)]


def _member(owner: Json, pod: Json) -> bool:
    """Whether a pod has a name that the set gives."""
    return bool(re.fullmatch(rf"{re.escape(owner['metadata']['name'])}-[0-9]+", pod["metadata"]["name"]))
