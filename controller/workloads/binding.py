"""Binding claims to the persistent volumes that somebody made, by Kubernetes' rules. Pure.

The volume is written first: whoever is killed in between finds there whose it is, and no volume has two claims.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import msgspec

from controller.choice.quantity import quantity
from controller.objects.fields import Json
from controller.objects.selectors import matches

CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"


class Write(msgspec.Struct, frozen=True):
    """An object of a kind as it is to be: these members of its spec, and of its status."""

    key: str
    namespace: str
    name: str
    uid: str
    spec: Json
    status: Json

    def applied(self, one: Json) -> Json:
        """The object with what is to be; another one of the same name is left as it is."""
        if one["metadata"]["uid"] != self.uid:
            return one
        status = {**(one.get("status") or {}), **self.status}
        return {**one, "spec": {**one["spec"], **self.spec}, "status": status}


def plan(claims: Sequence[Json], volumes: Sequence[Json]) -> list[Write]:
    """Claims and volumes that are to be written, in order."""
    free = {one["metadata"]["name"]: one for one in volumes}
    owners = {one["metadata"]["uid"]: one for one in claims}
    found: list[Write] = []
    for claim in sorted(claims, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])):
        named = claim["spec"].get("volumeName")
        volume = free.get(named) if named else _chosen(claim, free)
        if volume is not None and (_has(claim, volume) or _may_have(claim, volume)):
            found += _bound(claim, volume)
            del free[volume["metadata"]["name"]]
        elif named and volume is None and (claim.get("status") or {}).get("phase") == "Bound":
            found += _written(CLAIMS, claim, {}, {"phase": "Lost"})
    for volume in free.values():
        uid = (volume["spec"].get("claimRef") or {}).get("uid")
        left = bool(uid) and uid not in owners
        found += _written(VOLUMES, volume, {}, {"phase": "Released" if left else "Available"})
    return found


def _bound(claim: Json, volume: Json) -> Iterator[Write]:
    metadata: Json = claim["metadata"]
    own = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    reference = {**own, **{name: metadata[name] for name in ("namespace", "name", "uid")}}
    before: Json = volume["spec"].get("claimRef") or {}
    yield from _written(VOLUMES, volume, {"claimRef": {**before, **reference}}, {"phase": "Bound"})
    spec: Json = volume["spec"]
    status = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": spec["capacity"]}
    yield from _written(CLAIMS, claim, {"volumeName": volume["metadata"]["name"]}, status)


def _written(key: str, one: Json, spec: Json, status: Json) -> Iterator[Write]:
    """The write, where it changes anything."""
    metadata: Json = one["metadata"]
    write = Write(key, metadata.get("namespace", ""), metadata["name"], metadata["uid"], spec, status)
    if write.applied(one) != one:
        yield write


def _chosen(claim: Json, free: Mapping[str, Json]) -> Json | None:
    """The volume that was made for this claim, else the smallest that is large enough."""
    fitting = [one for one in free.values() if (_has(claim, one) or _may_have(claim, one)) and _fits(claim, one)]
    return min(
        fitting,
        key=lambda one: ("claimRef" not in one["spec"], _size(one["spec"].get("capacity")), one["metadata"]["name"]),
        default=None,
    )


def _has(claim: Json, volume: Json) -> bool:
    """Whether the claim has the volume already: it keeps it until the end of both."""
    return (volume["spec"].get("claimRef") or {}).get("uid") == claim["metadata"]["uid"]


def _may_have(claim: Json, volume: Json) -> bool:
    """Whether no other claim has the volume, it is kept for none, and neither is being deleted."""
    reference: Json = volume["spec"].get("claimRef") or {}
    metadata: Json = claim["metadata"]
    if metadata.get("deletionTimestamp") or volume["metadata"].get("deletionTimestamp"):
        return False
    here = (reference.get("namespace"), reference.get("name")) == (metadata["namespace"], metadata["name"])
    return not reference or (here and reference.get("uid") in (None, "", metadata["uid"]))


def _fits(claim: Json, volume: Json) -> bool:
    wanted, has = claim["spec"], volume["spec"]
    same = all(
        (wanted.get(name) or usual) == (has.get(name) or usual)
        for name, usual in (("storageClassName", ""), ("volumeMode", "Filesystem"))
    )
    selector = wanted.get("selector")
    labels: Json = volume["metadata"].get("labels") or {}
    asked = (wanted.get("resources") or {}).get("requests")
    return (
        same
        and set(wanted.get("accessModes") or ()) <= set(has.get("accessModes") or ())
        and _size(has.get("capacity")) >= _size(asked)
        and (not selector or matches(selector, labels))
    )


def _size(amounts: Json | None) -> Decimal:
    return quantity((amounts or {}).get("storage") or 0)
