"""Adoption of sandboxes: one is known again by what its cell carries, after the records of it were lost.

The cell carries the record of its sandbox as it was when that was made, and those of its containers as they were asked
for (`sandboxes.carried`). Of what it says itself only the state of those containers is heard, as at any time, and what
it alone knows of them: when they were made, of which image by its id, as which user. Which images the pod was allowed
to pull is known for those that it uses.
"""

from __future__ import annotations

import msgspec
from grpclib.client import Channel

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.model.cell import Cell
from controller.model.names import CellName
from controller.model.pod import PodClaim
from controller.sandboxes import records, reducer
from controller.sandboxes.carried import Carrier
from controller.sandboxes.cell_calls import PATIENCE, Newcomer
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.records import CARRIED, CarriedSandbox, ContainerRecord, SandboxRecord
from controller.store.record_store import Store


class SandboxOwner:
    """See `controller.fleet.adoption.Owner`, for the sandboxes of one of those that run pods."""

    def __init__(self, store: Store, carrier: Carrier, owner: str) -> None:
        self._store = store
        self._carrier = carrier
        self._owner = owner

    async def recognise(self, cell: CellName, channel: Channel) -> PodClaim | None:
        """The pod whose sandbox the cell carries. Raises Fault."""
        found = await self._found(newcomer(cell, channel))
        return found.claim if found is not None and found.claim.by == self._owner else None

    async def take(self, cell: Cell, channel: Channel) -> None:
        """Write the sandbox and its containers down, under the ids by which they were known. Raises Fault."""
        await self.take_sandbox(cell, channel)

    async def take_sandbox(self, cell: Cell, channel: Channel) -> tuple[SandboxRecord, list[ContainerRecord]]:
        """As `take`; what was written down."""
        there = newcomer(cell.name, channel)
        found = await self._found(there)
        if found is None:
            raise Fault(Kind.UNAVAILABLE, f"cell {cell.name}", "its pod has ended meanwhile", "it is asked again")
        taken: list[ContainerRecord] = []
        pulled: dict[str, str] = {}
        for one in await there.containers(found.record.id):
            record = await self._container(there, one.id)
            told = await there.container_status(record.id) if record is not None else None
            if record is None or told is None:
                continue
            status = as_it_runs(cri.ContainerStatus.FromString(record.status), told)
            pulled[status.image.user_specified_image or status.image.image] = status.image_id
            record = msgspec.structs.replace(record, status=status.SerializeToString())
            await self._store.put(records.containers(self._owner), record.id, msgspec.msgpack.encode(record))
            taken.append(record)
        record = msgspec.structs.replace(found.record, pulled=pulled)
        await self._store.put(records.sandboxes(self._owner), record.id, msgspec.msgpack.encode(record))
        return record, taken

    async def _found(self, there: OneCell) -> CarriedSandbox | None:
        carried = await self._carrier.get(there, CARRIED)
        return msgspec.msgpack.decode(carried, type=CarriedSandbox) if carried is not None else None

    async def _container(self, there: OneCell, container: str) -> ContainerRecord | None:
        """The container's record as the cell carries it; None for one that was not made through here."""
        carried = await self._carrier.get(there, container)
        return msgspec.msgpack.decode(carried, type=ContainerRecord) if carried is not None else None


def newcomer(cell: CellName, channel: Channel) -> OneCell:
    """The runtime on a cell that nobody knows yet."""
    return OneCell(Newcomer(channel), cell, patience=PATIENCE)


def as_it_runs(carried: cri.ContainerStatus, told: cri.ContainerStatus) -> cri.ContainerStatus:
    """The container as it is now: not what was carried, or a kubelet would start another in its place. Pure.

    One that has ended is told as running: its end is heard when its cell is followed, its termination message first.
    """
    known = reducer.made_container(carried, told)
    if told.state not in {cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED}:
        return known
    running = cri.ContainerStatus()
    running.CopyFrom(known)
    running.state, running.started_at = cri.CONTAINER_RUNNING, told.started_at
    return reducer.next_container(known, running)
