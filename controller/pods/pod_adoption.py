"""Adoption of pods: a pod is known again by what its cell carries, after the records of it were lost.

The cell carries the pod as it was when its sandbox was made there, beside the records of sandbox and containers
(`sandboxes.sandbox_adoption`). What only the pod's own record knew is lost: events, pods that were over or had no cell
yet, labels that were changed since, and that a pod was being deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from grpclib.client import Channel
from msgspec.structs import replace

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.model.cell import Cell
from controller.objects import namespace_lifecycle
from controller.objects.fields import Json
from controller.pods import bought, pod_records
from controller.pods.run import ContainerRun, PodRun
from controller.sandboxes.carried import Carrier
from controller.sandboxes.records import ContainerRecord
from controller.sandboxes.sandbox_adoption import SandboxOwner, newcomer
from controller.store.record_store import Store

# Whose the claims and sandboxes of declared pods are.
OWNER = "pod"
# The name under which a cell carries its pod.
CARRIED = "pod"


class CarriedPod(msgspec.Struct, frozen=True, kw_only=True):
    """What a cell carries of its pod beside the sandbox: the manifest, and the run at first."""

    metadata: dict[str, Any]
    spec: dict[str, Any]
    run: PodRun


def carried(pod: Json, run: PodRun) -> dict[str, bytes]:
    """What the pod's cell is to carry of it."""
    return {CARRIED: msgspec.msgpack.encode(CarriedPod(metadata=pod["metadata"], spec=pod["spec"], run=run))}


class PodOwner(SandboxOwner):
    """See `controller.fleet.adoption.Owner`, for declared pods."""

    def __init__(self, store: Store, carrier: Carrier, now: Callable[[], float]) -> None:
        super().__init__(store, carrier, OWNER)
        self._now = now

    async def take(self, cell: Cell, channel: Channel) -> None:
        """Write the pod down, and the namespace that it is in. Raises Fault."""
        told = await self._carrier.get(newcomer(cell.name, channel), CARRIED)
        if told is None:
            raise Fault(Kind.UNAVAILABLE, f"cell {cell.name}", "its pod has ended meanwhile", "it is asked again")
        found = msgspec.msgpack.decode(told, type=CarriedPod)
        sandbox, containers = await self.take_sandbox(cell, channel)
        run = replace(
            found.run,
            attempt=sandbox.attempt,
            cell=cell.name,
            cell_address=cell.address,
            shown=bought.shown(cell),
            containers=begun(containers),
        )
        pod: Json = {"metadata": found.metadata, "spec": with_images(found.spec, containers)}
        await namespace_lifecycle.ensure(self._store, pod["metadata"]["namespace"], self._now())
        await pod_records.restore(self._store, pod, run, self._now())


def with_images(spec: Json, made: Iterable[ContainerRecord]) -> Json:
    """The pod's spec, in which each container has the image of its last start: it may have been changed since the cell
    was given the spec. Pure.
    """
    last: dict[str, cri.ContainerStatus] = {}
    for one in made:
        status = cri.ContainerStatus.FromString(one.status)
        if status.metadata.name not in last or last[status.metadata.name].metadata.attempt < status.metadata.attempt:
            last[status.metadata.name] = status
    images = {name: image for name, status in last.items() if (image := status.image.user_specified_image)}
    listed = {key: spec[key] for key in ("initContainers", "containers", "ephemeralContainers") if spec.get(key)}
    return spec | {
        key: [one | {"image": images.get(one["name"], one.get("image"))} for one in each]
        for key, each in listed.items()
    }


def begun(made: Iterable[ContainerRecord]) -> dict[str, ContainerRun]:
    """How often each container of the pod was begun: its worker finds its state by that."""
    starts: dict[str, int] = {}
    for one in made:
        metadata = cri.ContainerStatus.FromString(one.status).metadata
        starts[metadata.name] = max(starts.get(metadata.name, 0), metadata.attempt + 1)
    return {name: ContainerRun(name=name, starts=count, restarts=count - 1) for name, count in starts.items()}
