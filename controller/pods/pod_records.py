"""Pods as they are remembered: every change is in the store before it is shown or acted on.

One record per pod under its uid; changes to one pod wait for each other. One whose caller was cancelled is finished all
the same.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from controller.choice import requirements
from controller.objects.collection import Objects
from controller.objects.fields import Json
from controller.pods.pod_status import status_of
from controller.pods.run import PodRecord, PodRun
from controller.store.record_store import Store
from hostkit.tasks import Finishing, KeyedLocks

KIND = "pod"
SHOWN = frozenset(f"{requirements.PREFIX}{name}" for name in requirements.SHOWN)


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
            record = msgspec.msgpack.decode(stored.value, type=PodRecord)
            self._objects.revisions.at_least(int(record.pod["metadata"].get("resourceVersion", 0)))
            self._show(stored.key, record)
        return list(self._records)

    def get(self, uid: str) -> PodRecord | None:
        """One pod's record, or None once it is gone."""
        return self._records.get(uid)

    async def create(self, pod: Json) -> Json:
        """A new pod, admitted and named, to be remembered and shown."""
        uid = pod["metadata"]["uid"]
        pod = {**pod, "metadata": _metadata(pod, PodRun())}
        record = PodRecord(pod={**pod, "status": status_of(pod["spec"], PodRun(), {}, self._now())})
        return await self._finishing.done(self._created(uid, record))

    async def run(self, uid: str, change: Callable[[PodRun], PodRun]) -> PodRun:
        """Change what is known of a pod's run. Raises KeyError once the pod is gone."""
        record = await self.change(uid, lambda record: replace(record, run=change(record.run)))
        return record.run

    async def change(self, uid: str, change: Callable[[PodRecord], PodRecord]) -> PodRecord:
        """Change a record; its status follows. Raises KeyError once the pod is gone."""
        return await self._finishing.done(self._changed(uid, change))

    async def remove(self, uid: str) -> None:
        """Forget a pod."""
        await self._finishing.done(self._removed(uid))

    async def _created(self, uid: str, record: PodRecord) -> Json:
        await self._store.put(KIND, uid, msgspec.msgpack.encode(record), expected=0)
        return self._show(uid, record)

    async def _changed(self, uid: str, change: Callable[[PodRecord], PodRecord]) -> PodRecord:
        async with self._locks[uid]:
            before = self._records[uid]
            changed = change(before)
            if changed == before:
                return before
            changed = _told(changed, self._now())
            await self._store.put(KIND, uid, msgspec.msgpack.encode(changed))
            self._show(uid, changed)
            return self._records[uid]

    async def _removed(self, uid: str) -> None:
        async with self._locks[uid]:
            await self._store.delete(KIND, uid)
            record = self._records.pop(uid, None)
            if record is not None:
                metadata = record.pod["metadata"]
                self._objects.drop(metadata["namespace"], metadata["name"])

    def _show(self, uid: str, record: PodRecord) -> Json:
        shown = self._objects.put(record.pod)
        self._records[uid] = replace(record, pod=shown)
        return shown


async def restore(store: Store, pod: Json, run: PodRun, now: float) -> None:
    """Write a pod down whose record was lost, for `load` to find."""
    whole = {"kind": "Pod", "apiVersion": "v1", **pod}
    await store.put(KIND, pod["metadata"]["uid"], msgspec.msgpack.encode(_told(PodRecord(pod=whole, run=run), now)))


def _told(record: PodRecord, now: float) -> PodRecord:
    """The record with what follows from its run in the object; `status` of before tells when things changed."""
    spec: Json = dict(record.pod["spec"])
    spec.pop("nodeName", None)
    if record.run.cell:
        spec["nodeName"] = record.run.cell
    status = status_of(spec, record.run, record.pod.get("status") or {}, now)
    told = {"metadata": _metadata(record.pod, record.run), "spec": spec, "status": status}
    return replace(record, pod={**record.pod, **told})


def _metadata(pod: Json, run: PodRun) -> Json:
    """The pod's metadata with the annotations that tell of its cell, and none of an earlier one."""
    metadata: Json = dict(pod["metadata"])
    given: dict[str, str] = metadata.pop("annotations", None) or {}
    own = {key: text for key, text in given.items() if key not in SHOWN}
    if annotations := {**own, **run.shown}:
        metadata["annotations"] = annotations
    return metadata
