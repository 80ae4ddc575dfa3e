"""Namespaces: `default` and `kube-system` are always there; the end of one is the end of all that is in it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable

from msgspec import msgpack

from cellwire.faults import Fault, Kind
from controller.objects.collection import Objects, RevisionCounter
from controller.objects.fields import Json
from controller.objects.stored import Change, Ending
from controller.objects.timestamps import timestamp
from controller.store.record_store import Store

KIND = "namespace"
DEFAULT = "default"
KEPT = (DEFAULT, "kube-system")


class Namespaces:
    """Keeps all namespaces. `began` is told of each, new or loaded, and `ending` of each that is to end."""

    def __init__(self, store: Store, revisions: RevisionCounter, now: Callable[[], float]) -> None:
        self._store = store
        self._objects = Objects(revisions)
        self._now = now

    @property
    def objects(self) -> Objects:
        """The namespaces as they are shown."""
        return self._objects

    async def load(self) -> list[str]:
        """Take up what was written earlier; returns the names of those that were ending."""
        for stored in await self._store.list(KIND):
            self._objects.put(msgpack.decode(stored.value))
        for name in KEPT:
            if self._objects.get("", name) is None:
                await self._put(_made(name, {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(self._now())}))
        return [one["metadata"]["name"] for one in self._objects.list() if one["status"]["phase"] == "Terminating"]

    async def create(self, new: Json) -> Json:
        """See Keeper."""
        name = new["metadata"]["name"]
        async with self._objects.turn("", name):
            if self._objects.get("", name) is not None:
                raise Fault(Kind.EXISTS, f'namespaces "{name}"', "already exists")
            return await self._put(_made(name, new["metadata"]))

    async def change(self, namespace: str, name: str, change: Change) -> Json:
        """See Keeper."""
        async with self._objects.turn("", name):
            before = self.find(name)
            after = change(before)
            return before if after == before else await self._put(after)

    async def end(self, namespace: str, name: str, ending: Ending) -> Json:
        """Mark a namespace as ending. Raises Fault NOT_FOUND, or DENIED for those that are always there."""
        if name in KEPT:
            raise Fault(Kind.DENIED, f'namespaces "{name}"', "is forbidden: this namespace may not be deleted")
        async with self._objects.turn("", name):
            found = self.find(name)
            ending.still(found)
            if found["status"]["phase"] == "Terminating":
                return found
            metadata = {**found["metadata"], "deletionTimestamp": timestamp(self._now())}
            return await self._put({**found, "metadata": metadata, "status": {"phase": "Terminating"}})

    async def gone(self, name: str) -> None:
        """Forget a namespace."""
        async with self._objects.turn("", name):
            await self._store.delete(KIND, name)
            self._objects.drop("", name)

    def find(self, name: str) -> Json:
        """One namespace. Raises Fault NOT_FOUND."""
        found = self._objects.get("", name)
        if found is None:
            raise Fault(Kind.NOT_FOUND, f'namespaces "{name}"', "not found")
        return found

    async def _put(self, namespace: Json) -> Json:
        await self._store.put(KIND, namespace["metadata"]["name"], msgpack.encode(namespace))
        return self._objects.put(namespace)


async def ensure(store: Store, name: str, now: float) -> None:
    """Write a namespace down where there is none of this name, for `load` to find."""
    if await store.get(KIND, name) is None:
        made = _made(name, {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(now)})
        await store.put(KIND, name, msgpack.encode(made))


def _made(name: str, metadata: Json) -> Json:
    labels = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": name}
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {**metadata, "name": name, "labels": labels},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def with_remains(namespace: Json, left: Iterable[tuple[str, Json]], now: float) -> Json:
    """The namespace with conditions of what keeps it from its end, in Kubernetes' words. Pure."""
    resources, finalizers = Counter[str](), Counter[str]()
    for key, one in left:
        # A kind of the core group ends with the full stop before its group.
        resources[key if "." in key else f"{key}."] += 1
        finalizers.update(one["metadata"].get("finalizers") or ())
    conditions = (_deleted(), _content(resources), _finalizers(finalizers))
    before = {one["type"]: one for one in namespace["status"].get("conditions") or ()}
    held = [_since(before.get(one["type"]), one, now) for one in conditions]
    return {**namespace, "status": {**namespace["status"], "conditions": held}}


def _deleted() -> Json:
    said = "All content successfully deleted, may be waiting on finalization"
    return {"type": "NamespaceDeletionContentFailure", "status": "False", "reason": "ContentDeleted", "message": said}


def _content(resources: Counter[str]) -> Json:
    listed = ", ".join(f"{key} has {number} resource instances" for key, number in sorted(resources.items()))
    some = {
        "status": "True",
        "reason": "SomeResourcesRemain",
        "message": f"Some resources are remaining: {listed}",
    }
    done = {"status": "False", "reason": "ContentRemoved", "message": "All content successfully removed"}
    return {"type": "NamespaceContentRemaining", **(some if resources else done)}


def _finalizers(finalizers: Counter[str]) -> Json:
    listed = ", ".join(f"{name} in {number} resource instances" for name, number in sorted(finalizers.items()))
    said = f"Some content in the namespace has finalizers remaining: {listed}"
    some = {"status": "True", "reason": "SomeFinalizersRemain", "message": said}
    words = "All content-preserving finalizers finished"
    done = {"status": "False", "reason": "ContentHasNoFinalizers", "message": words}
    return {"type": "NamespaceFinalizersRemaining", **(some if finalizers else done)}


def _since(before: Json | None, one: Json, now: float) -> Json:
    same = before is not None and before["status"] == one["status"]
    return {**one, "lastTransitionTime": before["lastTransitionTime"] if same and before else timestamp(now)}
