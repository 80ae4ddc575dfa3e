"""A pod decoded: from the object that is stored and shown to the types by which the room works. Pure.

It is done where a record is made, once for each change of what a pod says; other changes keep what was decoded.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from cellwire.faults import Fault, Kind
from controller.objects.fields import Json
from controller.objects.schema.meta import ObjectMeta
from controller.objects.schema.pods import Pod, PodSpec
from controller.objects.shapes import decoded
from controller.pods.run import PodRecord, PodRun, StoredPod

# They change with every write, and no pod is run by them: who needs them reads the object itself.
_LEFT_OUT = frozenset({"managedFields", "resourceVersion"})


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
