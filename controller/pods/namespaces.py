"""Namespaces: names to tell pods apart. `default` is always there; the end of one is the end of its pods."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import msgspec

from cellwire.faults import Fault, Kind
from controller.objects.collection import Objects
from controller.objects.fields import Invalid, Json, Report, anything, dns_label, labels, only, record, texts_by_name
from controller.pods.status import timestamp
from controller.store.protocol import Store

KIND = "namespace"
DEFAULT = "default"

_NAMESPACE = record(
    {
        "apiVersion": only("v1"),
        "kind": only("Namespace"),
        "metadata": record(
            {
                "annotations": texts_by_name,
                "creationTimestamp": anything,
                "labels": labels,
                "managedFields": anything,
                "name": dns_label,
                "resourceVersion": anything,
                "uid": anything,
            },
            required=("name",),
        ),
        "spec": anything,
        "status": anything,
    },
    required=("metadata",),
)


class Namespaces:
    """All namespaces, durable in `store`, shown in `objects`."""

    def __init__(self, store: Store, objects: Objects, now: Callable[[], float]) -> None:
        self._store = store
        self._objects = objects
        self._now = now

    async def load(self) -> list[str]:
        """Take up what was written earlier; returns the names of those that were ending."""
        for stored in await self._store.list(KIND):
            self._objects.put(msgspec.msgpack.decode(stored.value))
        if self._objects.get("", DEFAULT) is None:
            await self.create({"metadata": {"name": DEFAULT}})
        return [one["metadata"]["name"] for one in self._objects.list() if one["status"]["phase"] == "Terminating"]

    async def create(self, manifest: Json) -> Json:
        """A new namespace. Raises Invalid, or Fault EXISTS."""
        report = Report()
        _NAMESPACE(manifest, "", report)
        metadata: Json = manifest["metadata"] if isinstance(manifest.get("metadata"), dict) else {}
        name = str(metadata.get("name", ""))
        if report.causes:
            raise Invalid(name, report.causes)
        if self._objects.get("", name) is not None:
            raise Fault(Kind.EXISTS, f'namespaces "{name}"', "already exists")
        kept = {key: metadata[key] for key in ("annotations", "labels") if metadata.get(key)}
        return await self._put(_made(name, kept, self._now()))

    async def end(self, name: str) -> Json:
        """Mark a namespace as ending. Raises Fault NOT_FOUND, or DENIED for `default`."""
        if name == DEFAULT:
            raise Fault(Kind.DENIED, f'namespaces "{name}"', "this namespace may not be deleted")
        namespace = self.find(name)
        metadata = {**namespace["metadata"], "deletionTimestamp": timestamp(self._now())}
        return await self._put({**namespace, "metadata": metadata, "status": {"phase": "Terminating"}})

    async def change(self, changed: Json) -> Json:
        """Write a namespace with other labels or annotations."""
        self.find(changed["metadata"]["name"])
        return await self._put(changed)

    async def gone(self, name: str) -> None:
        """Forget a namespace."""
        await self._store.delete(KIND, name)
        self._objects.drop("", name)

    def find(self, name: str) -> Json:
        """One namespace. Raises Fault NOT_FOUND."""
        found = self._objects.get("", name)
        if found is None:
            raise Fault(Kind.NOT_FOUND, f'namespaces "{name}"', "not found")
        return found

    async def _put(self, namespace: Json) -> Json:
        await self._store.put(KIND, namespace["metadata"]["name"], msgspec.msgpack.encode(namespace))
        return self._objects.put(namespace)


async def ensure(store: Store, name: str, now: float) -> None:
    """Write a namespace down where there is none of this name, for `load` to find."""
    if await store.get(KIND, name) is None:
        await store.put(KIND, name, msgspec.msgpack.encode(_made(name, {}, now)))


def _made(name: str, given: Json, now: float) -> Json:
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": timestamp(now),
            **given,
            "labels": {**given.get("labels", {}), "kubernetes.io/metadata.name": name},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
