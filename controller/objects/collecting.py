"""Garbage collection as in Kubernetes: what goes because its owner or its namespace does. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from controller.objects.fields import Json
from controller.objects.kinds import NAMESPACES
from controller.objects.stored import FOREGROUND, ORPHAN


class Step(NamedTuple):
    """One thing to do: "delete" an object, "release" one that waited for what it owned, "disown" one of this owner,
    "forget" a namespace.
    """

    what: Literal["delete", "release", "disown", "forget"]
    key: str
    namespace: str
    name: str
    policy: str = "Background"
    owner: str = ""


def plan(everything: Iterable[tuple[str, Json]], ending: Iterable[str]) -> list[Step]:
    """What to do about all these objects, each under the name of its kind, while these namespaces end.

    An owner of another namespace is none: what names it goes as if that owner were gone.
    """
    listed = list(everything)
    alive = {one["metadata"]["uid"]: one for _, one in listed}
    blocked: set[str] = set()
    steps: list[Step] = []
    left = dict.fromkeys(ending, 0)
    for key, one in listed:
        metadata: Json = one["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        named = [owner["uid"] for owner in metadata.get("ownerReferences") or ()]
        owners = [uid for uid in named if uid in alive and _may_own(alive[uid], namespace)]
        blocking = {owner["uid"] for owner in metadata.get("ownerReferences") or () if owner.get("blockOwnerDeletion")}
        blocked.update(blocking.intersection(owners))
        left[namespace] = left.get(namespace, 0) + 1
        if metadata.get("deletionTimestamp"):
            continue
        waiting = [uid for uid in owners if _held(alive[uid], FOREGROUND)]
        leaving = [uid for uid in owners if _held(alive[uid], ORPHAN)]
        if leaving:
            # Those that it has lost are looked at when this is done.
            steps += [Step("disown", key, namespace, name, owner=uid) for uid in leaving]
        elif namespace in ending or (named and not owners):
            steps.append(Step("delete", key, namespace, name))
        elif waiting and len(waiting) == len(owners):
            steps.append(Step("delete", key, namespace, name, "Foreground"))
        else:
            useless = [uid for uid in named if uid not in owners or uid in waiting]
            steps += [Step("disown", key, namespace, name, owner=uid) for uid in useless]
    for key, one in listed:
        metadata = one["metadata"]
        if _held(one, ORPHAN) or (_held(one, FOREGROUND) and metadata["uid"] not in blocked):
            steps.append(Step("release", key, metadata.get("namespace", ""), metadata["name"]))
    spaces = [one["metadata"] for key, one in listed if key == NAMESPACES.key]
    held = {metadata["name"] for metadata in spaces if metadata.get("finalizers")}
    steps += [Step("forget", NAMESPACES.key, "", name) for name in ending if not left.get(name) and name not in held]
    return steps


def _may_own(owner: Json, namespace: str) -> bool:
    """Whether it has no namespace or this one; what is in none itself is left to whoever may write such objects."""
    return not namespace or owner["metadata"].get("namespace", "") in {"", namespace}


def _held(one: Json, finalizer: str) -> bool:
    metadata = one["metadata"]
    return bool(metadata.get("deletionTimestamp")) and finalizer in (metadata.get("finalizers") or ())


def released(one: Json) -> Json:
    """The object, now that it owns nothing any more."""
    metadata = one["metadata"]
    finalizers = [name for name in metadata.get("finalizers") or () if name not in {FOREGROUND, ORPHAN}]
    return {**one, "metadata": {**metadata, "finalizers": finalizers}}


def disowned(one: Json, uid: str) -> Json:
    """The object without this owner."""
    metadata = one["metadata"]
    owners = [owner for owner in metadata.get("ownerReferences") or () if owner["uid"] != uid]
    return {**one, "metadata": {**metadata, "ownerReferences": owners}}
