"""Plans of workloads: steps to take, and what pods tell of themselves. Pure.

A plan sees all objects as they are at one moment and says what to do now; it keeps nothing. So whoever acts may be
killed at any step, and the next pass goes on from what is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import msgspec

from controller.objects.fields import Json, copied
from controller.objects.timestamps import seconds_of, timestamp

# As Kubernetes, which makes at most so many pods of one owner at once.
BURST = 500
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


class Create(msgspec.Struct, frozen=True):
    """Create an object of a kind."""

    key: str
    one: Json


class Delete(msgspec.Struct, frozen=True):
    """Delete an object of a kind."""

    key: str
    name: str
    policy: str = "Background"


class ScaleReplicaSet(msgspec.Struct, frozen=True):
    """Give a replica set another size, or other annotations."""

    name: str
    replicas: int
    annotations: dict[str, str] = {}


class Renumber(msgspec.Struct, frozen=True):
    """Give a controller revision another number."""

    name: str
    number: int


class Mark(msgspec.Struct, frozen=True):
    """Give the object that is planned for an annotation."""

    name: str
    text: str


class Tell(msgspec.Struct, frozen=True):
    """An event of the object that is planned for."""

    reason: str
    message: str
    warning: bool = False


Step = Create | Delete | ScaleReplicaSet | Renumber | Mark | Tell


class Plan(msgspec.Struct, frozen=True):
    """A plan for an object: steps in order, its status, and when to look again at the latest (unix seconds)."""

    steps: tuple[Step, ...] = ()
    status: Json | None = None
    again: float | None = None


def earliest(*moments: float | None) -> float | None:
    """The first of these moments."""
    return min((one for one in moments if one is not None), default=None)


def owned(objects: Iterable[Json], owner: Json) -> list[Json]:
    """The objects whose controller this one is."""
    uid = owner["metadata"]["uid"]
    return [
        one
        for one in objects
        if any(ref["uid"] == uid and ref.get("controller") for ref in one["metadata"].get("ownerReferences") or ())
    ]


def owner_reference(owner: Json) -> Json:
    """What an owned object says of its controller."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def from_template(owner: Json, template: Json, name: str = "") -> Json:
    """A pod made of a template, owned by its controller; its name is generated where none is given."""
    metadata: Json = copied(template.get("metadata") or {})
    for field in ("name", "creationTimestamp", "namespace"):
        metadata.pop(field, None)
    named = {"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"}
    metadata = {**metadata, **named, "ownerReferences": [owner_reference(owner)]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template["spec"])}


def digest(value: object) -> str:
    """A short name for a value, in letters that make no words."""
    number = int.from_bytes(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:8], "big")
    letters = ""
    while len(letters) < 10:
        number, rest = divmod(number, len(_SAFE))
        letters += _SAFE[rest]
    return letters


def phase(pod: Json) -> str:
    """The phase of a pod."""
    return (pod.get("status") or {}).get("phase", "Pending")


def going(one: Json) -> bool:
    """Whether an object is being deleted."""
    return bool(one["metadata"].get("deletionTimestamp"))


def active(pod: Json) -> bool:
    """Whether a pod counts: neither over nor on its way out."""
    return phase(pod) not in {"Succeeded", "Failed"} and not going(pod)


def ready_since(pod: Json) -> float | None:
    """Since when a pod is ready, in unix seconds; None where it is not."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "True":
            return seconds_of(condition.get("lastTransitionTime")) or 0.0
    return None


def available(pod: Json, least: int, now: float) -> tuple[bool, float | None]:
    """Whether a pod is ready for so many seconds; else when it will be, where it is ready."""
    since = ready_since(pod)
    if since is None or not active(pod):
        return False, None
    return (True, None) if now >= since + least else (False, since + least)


_STATUSES = {True: "True", False: "False", None: "Unknown"}


def condition(
    before: Sequence[Json],
    kind: str,
    told: tuple[bool | None, str, str],
    now: float,
    written: str = "lastUpdateTime",
) -> Json:
    """A condition of a status (whether it holds, None for nobody knows; reason; message), with when that began, and in
    the field `written` when it was told last: kinds have names of their own for that.
    """
    holds, reason, message = told
    status = _STATUSES[holds]
    old = next((one for one in before if one["type"] == kind), None)
    at = timestamp(now)
    changed = old is None or old["status"] != status
    same = old is not None and (old["status"], old.get("reason"), old.get("message")) == (status, reason, message)
    if same and old is not None:
        return old
    moved = at if changed or old is None else old.get("lastTransitionTime", at)
    found: Json = {"type": kind, "status": status, "lastTransitionTime": moved, written: at}
    return {**found, "reason": reason, "message": message}
