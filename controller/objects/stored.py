"""The keeper of most kinds: objects in the store, one record each, shown from memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import msgpack

from cellwire.faults import Fault, Kind
from controller.objects.collection import Objects, RevisionCounter
from controller.objects.fields import Json
from controller.objects.resource import Resource
from controller.objects.sealing import Sealing
from controller.objects.timestamps import timestamp
from controller.store.record_store import Store

Change = Callable[[Json], Json]
# What asks for an owner's deletion to go in a certain way, until it has.
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


def whatever(_one: Json) -> None:
    """It does not matter how the object is by now."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How an object is to be deleted: within so many seconds (its own grace for None), and what becomes of what it
    owns: "Background", "Foreground" or "Orphan". `still` raises Fault where the object is not the one that is meant: it
    is asked when nobody else can change the object any more.
    """

    grace: int | None = None
    policy: str = "Background"
    still: Callable[[Json], None] = whatever


def kept_by(metadata: Json, ending: Ending) -> list[str]:
    """The finalizers of an object that is to be deleted so: one of them is for the garbage collection to take off."""
    others = [one for one in metadata.get("finalizers") or () if one not in {FOREGROUND, ORPHAN}]
    return [*others, *{"Foreground": (FOREGROUND,), "Orphan": (ORPHAN,)}.get(ending.policy, ())]


class Keeper(Protocol):
    """Keeps the objects of one kind. What is given to it has been admitted."""

    @property
    def objects(self) -> Objects:
        """The objects as they are shown."""
        ...

    async def create(self, new: Json) -> Json:
        """Keep a new object. Raises Fault EXISTS."""
        ...

    async def change(self, namespace: str, name: str, change: Change) -> Json:
        """Change an object; changes to one wait for each other. Raises Fault NOT_FOUND, and what `change` raises."""
        ...

    async def end(self, namespace: str, name: str, ending: Ending) -> Json:
        """Delete an object, or begin to. Raises Fault NOT_FOUND, and what `ending.still` raises."""
        ...


def absent(resource: Resource, name: str) -> Fault:
    """There is no such object."""
    return Fault(Kind.NOT_FOUND, f'{resource.key} "{name}"', "not found")


class ObjectStore:
    """Keeps objects of one kind in the store."""

    def __init__(
        self, resource: Resource, store: Store, revisions: RevisionCounter, sealing: Sealing, now: Callable[[], float]
    ) -> None:
        self.resource = resource
        self._store = store
        self._sealing = sealing
        self._now = now
        self._objects = Objects(revisions)
        self._kind = f"object/{resource.key}"

    @property
    def objects(self) -> Objects:
        """The objects as they are shown."""
        return self._objects

    async def load(self) -> None:
        """Take up what an earlier life wrote. Raises Fault BROKEN where a sealed object cannot be opened."""
        for stored in await self._store.list(self._kind):
            value = self._sealing.opened(stored.value, stored.key) if self.resource.sealed else stored.value
            one = msgpack.decode(value)
            self._objects.revisions.at_least(int(one["metadata"].get("resourceVersion") or 0))
            self._objects.put(one)

    async def create(self, new: Json) -> Json:
        """See Keeper."""
        metadata = new["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        async with self._objects.turn(namespace, name):
            if self._objects.get(namespace, name) is not None:
                raise Fault(Kind.EXISTS, f'{self.resource.key} "{name}"', "already exists")
            return await self._put(new)

    async def change(self, namespace: str, name: str, change: Change) -> Json:
        """See Keeper. One that was waiting for its last finalizer goes with it."""
        async with self._objects.turn(namespace, name):
            before = self._found(namespace, name)
            after = change(before)
            if after == before:
                return before
            if after["metadata"].get("deletionTimestamp") and not after["metadata"].get("finalizers"):
                return await self._drop(namespace, name, after)
            return await self._put(after)

    async def end(self, namespace: str, name: str, ending: Ending) -> Json:
        """See Keeper. Finalizers hold it back."""
        async with self._objects.turn(namespace, name):
            before = self._found(namespace, name)
            ending.still(before)
            metadata: Json = before["metadata"]
            finalizers = kept_by(metadata, ending)
            if not finalizers:
                return await self._drop(namespace, name, before)
            if metadata.get("deletionTimestamp") and finalizers == metadata.get("finalizers"):
                return before
            own = {"deletionTimestamp": timestamp(self._now()), "deletionGracePeriodSeconds": 0}
            return await self._put({**before, "metadata": {**own, **metadata, "finalizers": finalizers}})

    def _found(self, namespace: str, name: str) -> Json:
        found = self._objects.get(namespace, name)
        if found is None:
            raise absent(self.resource, name)
        return found

    async def _put(self, one: Json) -> Json:
        key = f"{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"
        value = msgpack.encode(one)
        await self._store.put(self._kind, key, self._sealing.sealed(value, key) if self.resource.sealed else value)
        return self._objects.put(one)

    async def _drop(self, namespace: str, name: str, last: Json) -> Json:
        await self._store.delete(self._kind, f"{namespace}/{name}")
        self._objects.drop(namespace, name)
        return last
