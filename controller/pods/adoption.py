"""Knows a pod again by what its cell carries, after the records of it were lost.

The cell carries the pod as it was when its sandbox was made there (`sandboxes.carried`); of what it says itself only
how often it has started each of the pod's containers is heard. What only the records knew is lost: events, pods that
were over or had no cell yet, labels that were changed since, and that a pod was being deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from grpclib.client import Channel
from msgspec.structs import replace

from cellwire.faults import Fault, Kind
from controller.model.cell import Cell
from controller.model.names import CellName
from controller.model.pod import PodClaim
from controller.objects import namespaces
from controller.objects.fields import Json
from controller.pods import bought, records
from controller.pods.lifecycle import containers_of
from controller.pods.run import ContainerRun, PodRun
from controller.sandboxes.carried import Carrier
from controller.sandboxes.cell import PATIENCE, Newcomer, OneCell
from controller.sandboxes.told import Made
from controller.store.protocol import Store

# The name under which a cell carries its pod.
CARRIED = "pod"
# A container that is started again each minute comes to this in two years.
MOST_STARTS = 1_000_000


class CarriedPod(msgspec.Struct, frozen=True, kw_only=True):
    """What a cell carries of its pod: the claim that the cell was given, the manifest, and the run at first."""

    claim: PodClaim
    metadata: dict[str, Any]
    spec: dict[str, Any]
    run: PodRun


def carried(claim: PodClaim, pod: Json, run: PodRun) -> bytes:
    """What the pod's cell is to carry of it."""
    return msgspec.msgpack.encode(CarriedPod(claim=claim, metadata=pod["metadata"], spec=pod["spec"], run=run))


class PodOwner:
    """See `controller.fleet.adoption.Owner`, for declared pods."""

    def __init__(self, store: Store, carrier: Carrier, now: Callable[[], float]) -> None:
        self._store = store
        self._carrier = carrier
        self._now = now

    async def recognise(self, cell: CellName, channel: Channel) -> PodClaim | None:
        """The pod that the cell carries. Raises Fault."""
        found = await self._found(_newcomer(cell, channel))
        return found.claim if found is not None else None

    async def take(self, cell: Cell, channel: Channel) -> None:
        """Write the pod down, and the namespace that it is in. Raises Fault."""
        there = _newcomer(cell.name, channel)
        found = await self._found(there)
        if found is None:
            raise Fault(Kind.UNAVAILABLE, f"cell {cell.name}", "its pod has ended meanwhile", "it is asked again")
        made = await there.containers(found.run.sandbox)
        run = replace(
            found.run,
            cell=cell.name,
            cell_address=cell.address,
            shown=bought.shown(cell),
            containers=begun(found.spec, made),
        )
        pod: Json = {"metadata": found.metadata, "spec": found.spec}
        await namespaces.ensure(self._store, pod["metadata"]["namespace"], self._now())
        await records.restore(self._store, pod, run, self._now())

    async def _found(self, there: OneCell) -> CarriedPod | None:
        told = await self._carrier.get(there, CARRIED)
        return msgspec.msgpack.decode(told, type=CarriedPod) if told is not None else None


def _newcomer(cell: CellName, channel: Channel) -> OneCell:
    return OneCell(Newcomer(channel), cell, patience=PATIENCE)


def begun(spec: Json, made: Iterable[Made]) -> dict[str, ContainerRun]:
    """How often each container of the pod was begun, by what the cell has made; of others it may say what it likes."""
    starts = {container["name"]: 0 for container, _ in containers_of(spec)}
    for one in made:
        if one.name in starts and one.attempt < MOST_STARTS:
            starts[one.name] = max(starts[one.name], one.attempt + 1)
    return {name: ContainerRun(name=name, starts=count) for name, count in starts.items() if count}
