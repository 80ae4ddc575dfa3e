"""Pods as they are remembered: every change is in the store before it is shown or acted on.

One record per pod under its uid; changes to one pod wait for each other. One whose caller was cancelled is finished all
the same. The object that is stored and shown is decoded, into the types by which the room works, where a record is
made: once for each change of what a pod says; other changes keep what was decoded.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from cellwire.faults import Fault, Kind
from controller.choice import requirements
from controller.objects.collection import Objects
from controller.objects.fields import Json
from controller.objects.schema.meta import ObjectMeta
from controller.objects.schema.pods import Pod, PodSpec
from controller.objects.shapes import decoded
from controller.pods.pod_status import status_of
from controller.pods.run import PodRecord, PodRun, StoredPod
from controller.store.record_store import Store
from hostkit.tasks import Finishing, KeyedLocks

KIND = "pod"
SHOWN = frozenset(f"{requirements.PREFIX}{name}" for name in requirements.SHOWN)
# They change with every write, and no pod is run by them: who needs them reads the object itself.
_LEFT_OUT = frozenset({"managedFields", "resourceVersion"})


class PodRecords:
    """All pods, durable in `store`, shown in `objects`."""

    def __init__(self, store: Store, objects: Objects, finishing: Finishing, now: Callable[[], float]) -> None:
        self._store = store
        self._finishing = finishing
        self._objects = objects
        self._now = now
        self._records: dict[str, PodRecord] = {}
        self._locks = KeyedLocks[str]()

    async def load(self) -> list[str]:
        """Take up what an earlier life of this controller wrote; returns the uids."""
        for stored in await self._store.list(KIND):
            record = taken_up(msgspec.msgpack.decode(stored.value, type=StoredPod))
            self._objects.revisions.at_least(int(record.shown["metadata"].get("resourceVersion", 0)))
            self._show(stored.key, record)
        return list(self._records)

    def get(self, uid: str) -> PodRecord | None:
        """One pod's record, or None once it is gone."""
        return self._records.get(uid)

    async def create(self, pod: Json) -> Json:
        """A new pod, admitted and named, to be remembered and shown. Raises Fault INVALID."""
        record = recorded({**pod, "metadata": _metadata(pod, PodRun())}, PodRun())
        status = status_of(record.pod.spec, record.run, {}, self._now())
        record = replace(record, shown={**record.shown, "status": status})
        return await self._finishing.done(self._created(pod["metadata"]["uid"], record))

    async def run(self, uid: str, change: Callable[[PodRun], PodRun]) -> PodRun:
        """Change what is known of a pod's run. Raises KeyError once the pod is gone."""
        return (await self._finishing.done(self._changed(uid, lambda one: (one.shown, change(one.run))))).run

    async def change(self, uid: str, change: Callable[[Json], Json]) -> Json:
        """Change a pod as it is shown. Raises KeyError once it is gone, and Fault INVALID."""
        return (await self._finishing.done(self._changed(uid, lambda one: (change(one.shown), one.run)))).shown

    async def remove(self, uid: str) -> None:
        """Forget a pod."""
        await self._finishing.done(self._removed(uid))

    async def _created(self, uid: str, record: PodRecord) -> Json:
        await self._store.put(KIND, uid, _encoded(record), expected=0)
        return self._show(uid, record)

    async def _changed(self, uid: str, change: Callable[[PodRecord], tuple[Json, PodRun]]) -> PodRecord:
        async with self._locks[uid]:
            before = self._records[uid]
            shown, run = change(before)
            if (shown, run) == (before.shown, before.run):
                return before
            changed = _told(shown, run, before, self._now())
            await self._store.put(KIND, uid, _encoded(changed))
            self._show(uid, changed)
            return self._records[uid]

    async def _removed(self, uid: str) -> None:
        async with self._locks[uid]:
            await self._store.delete(KIND, uid)
            record = self._records.pop(uid, None)
            if record is not None:
                metadata = record.shown["metadata"]
                self._objects.drop(metadata["namespace"], metadata["name"])

    def _show(self, uid: str, record: PodRecord) -> Json:
        shown = self._objects.put(record.shown)
        self._records[uid] = replace(record, shown=shown)
        return shown


async def restore(store: Store, pod: Json, run: PodRun, now: float) -> None:
    """Write a pod down whose record was lost, for `load` to find."""
    found = taken_up(StoredPod(pod={"kind": "Pod", "apiVersion": "v1", **pod}, run=run))
    await store.put(KIND, pod["metadata"]["uid"], _encoded(_told(found.shown, run, found, now)))


def _encoded(record: PodRecord) -> bytes:
    return msgspec.msgpack.encode(StoredPod(pod=record.shown, run=record.run))


def _told(shown: Json, run: PodRun, before: PodRecord, now: float) -> PodRecord:
    """The record with what follows from its run in the object; the status of before tells when things changed."""
    spec: Json = dict(shown["spec"])
    spec.pop("nodeName", None)
    if run.cell:
        spec["nodeName"] = run.cell
    record = recorded({**shown, "metadata": _metadata(shown, run), "spec": spec}, run, before)
    return replace(record, shown={**record.shown, "status": _status(record, now)})


def _status(record: PodRecord, now: float) -> Json:
    before: Json = record.shown.get("status") or {}
    if record.unreadable is not None:  # nothing is known of its containers but what was told before
        return {**before, "phase": record.run.phase} if record.run.phase else before
    return status_of(record.pod.spec, record.run, before, now)


def _metadata(pod: Json, run: PodRun) -> Json:
    """The pod's metadata with the annotations that tell of its cell, and none of an earlier one."""
    metadata: Json = dict(pod["metadata"])
    given: dict[str, str] = metadata.pop("annotations", None) or {}
    own = {key: text for key, text in given.items() if key not in SHOWN}
    if annotations := {**own, **run.shown}:
        metadata["annotations"] = annotations
    return metadata


def recorded(shown: Json, run: PodRun, before: PodRecord | None = None) -> PodRecord:
    """The record of a pod whose record was `before`. Raises Fault INVALID where the object cannot be decoded; where it
    could not be before, it may stay so.
    """
    try:
        return PodRecord(shown=shown, pod=_pod(shown, before), run=run)
    except Fault as fault:
        if before is None or before.unreadable is None:
            raise
        return replace(before, shown=shown, run=run, unreadable=fault)


def taken_up(stored: StoredPod) -> PodRecord:
    """The record of a pod that was stored, maybe by an older version: one that cannot be decoded says why."""
    try:
        return recorded(stored.pod, stored.run)
    except Fault as fault:
        metadata = stored.pod["metadata"]
        names = ObjectMeta(name=metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"])
        return PodRecord(shown=stored.pod, pod=Pod(metadata=names), run=stored.run, unreadable=fault)


def _pod(shown: Json, before: PodRecord | None) -> Pod:
    metadata = {name: value for name, value in shown["metadata"].items() if name not in _LEFT_OUT}
    try:
        same = before is not None and before.unreadable is None and before.shown["spec"] == shown["spec"]
        spec = before.pod.spec if same and before is not None else decoded(shown["spec"], PodSpec)
        return Pod(metadata=decoded(metadata, ObjectMeta), spec=spec)
    except msgspec.ValidationError as error:
        cause = f"what is stored of it cannot be read: {error}"
        mend = "delete the pod and create it anew"
        raise Fault(Kind.INVALID, f'pod "{metadata["namespace"]}/{metadata["name"]}"', cause, mend) from error
