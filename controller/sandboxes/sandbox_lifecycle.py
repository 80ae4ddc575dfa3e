"""The life of a sandbox: made on the cell that was claimed for it, stopped, and its cell given back.

The cell is given back when the sandbox is stopped, not when the record of it is removed, since a stopped sandbox costs
as much as a running one. Before that the last byte of every log is here, or the wait for it is over.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

import msgspec
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.choice.requirements import PREFIX, SHOWN
from controller.fleet.cells import Cells
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes import following, reducer
from controller.sandboxes.carried import Carrier
from controller.sandboxes.cell_calls import PATIENCE, is_over
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.container_lifecycle import Containers
from controller.sandboxes.following import Following
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import CARRIED, CarriedSandbox, SandboxRecord
from controller.sandboxes.resize import require_fits

log = structlog.get_logger()
# Labels of a sandbox by which its pod is known: those that a kubelet adds to the pod's own.
IDENTITY = frozenset(f"io.kubernetes.pod.{part}" for part in ("name", "namespace", "uid"))

# Who deletes by force does not wait; a cell that is well kills and tells it within a moment.
FORCED = 2.0


class Sandboxes:
    """Sandboxes of one room."""

    def __init__(
        self, cells: Cells, memory: Memory, followed: Following, carrier: Carrier, containers: Containers
    ) -> None:
        self._cells = cells
        self._memory = memory
        self._following = followed
        self._carrier = carrier
        self._on = containers.on

    async def make(
        self,
        cell: CellName,
        claim: PodClaim,
        asked: cri.PodSandboxConfig,
        known_as: cri.PodSandboxConfig,
        handler: str = "",
        carried: Mapping[str, bytes] | None = None,
    ) -> SandboxRecord:
        """Make the sandbox of a claim on its cell, which carries it, and `carried` by their names, from then on. One
        that the cell has made already is taken. `known_as` is its config as it is told to who asks. Raises Fault.
        """
        there = self._on(cell)
        sandbox_id = await there.run_sandbox(asked, handler, self._memory.knows_any)
        status = await there.sandbox_status(sandbox_id)
        reducer.name_sandbox(status, known_as, handler)
        record = SandboxRecord(
            id=sandbox_id,
            cell=cell,
            uid=str(claim.pod.uid),
            attempt=claim.pod.attempt,
            config=known_as.SerializeToString(),
            status=status.SerializeToString(),
        )
        whole = msgspec.msgpack.encode(CarriedSandbox(claim=claim, record=record))
        for name, content in {CARRIED: whole, **(carried or {})}.items():
            await self._carrier.put(there, name, content)
        await self._memory.put_sandbox(record)
        self._following.start(record)
        return record

    async def stop(self, sandbox_id: str, why: str, forced: asyncio.Event | None = None) -> None:
        """Stop the sandbox, take what is left on the cell, give the cell back. The unknown is stopped already.

        Once it is `forced`, a cell that does not answer at once is given back as it is.
        """
        try:
            record = self._memory.sandbox(sandbox_id)
        except Fault:
            return
        if record.released:
            return
        await self._stop_or_leave(record, forced or asyncio.Event())
        await following.end(self._memory, record.id, why)
        await self._following.stop(record.id)
        await self._cells.release(record.cell, why)
        await self._memory.change_sandbox(record.id, lambda known: msgspec.structs.replace(known, released=True))

    async def remove(self, sandbox_id: str, why: str, forced: asyncio.Event | None = None) -> SandboxRecord | None:
        """Stop the sandbox and forget it; what was known of it. The unknown is removed already."""
        await self.stop(sandbox_id, why, forced)
        try:
            record = self._memory.sandbox(sandbox_id)
        except Fault:
            return None
        await self._memory.forget_sandbox(record)
        return record

    async def give_back(self, uid: str, why: str, forced: asyncio.Event, before: float = math.inf) -> None:
        """Remove a pod's sandboxes of all attempts before this one, and release their cells, also where none was made
        yet. See `stop` for `forced`.
        """
        for sandbox in self._memory.sandboxes():
            if sandbox.uid == uid and sandbox.attempt < before:
                await self.remove(sandbox.id, why, forced)
        for cell in self._cells.list():
            if cell.claim and cell.claim.pod.uid == uid and cell.claim.pod.attempt < before:
                await self._cells.release(cell.name, why)

    async def update(self, request: cri.UpdatePodSandboxResourcesRequest) -> None:
        """Hold the pod to new resources, within what its cell has. Raises Fault."""
        record = self._memory.sandbox(request.pod_sandbox_id)
        cell = self._cells.get(record.cell)
        if cell is not None:
            require_fits(f"pod {cri.PodSandboxStatus.FromString(record.status).metadata.name}", request.resources, cell)
        request.pod_sandbox_id = record.id
        await self._on(record.cell).update_sandbox(request)

    async def _stop_or_leave(self, record: SandboxRecord, forced: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(self._stop_on_cell(record))
            leaving = tasks.create_task(self._forced(record, forced))
            await asyncio.wait({stopping, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                cause = "its pod was deleted by force, and the cell has not answered"
                log.warning("a sandbox and the end of its logs go with its cell", cell=record.cell, cause=cause)
            stopping.cancel()
            leaving.cancel()

    async def _forced(self, record: SandboxRecord, forced: asyncio.Event) -> None:
        """Return when a cell was given the time that there is after a deletion by force."""
        await forced.wait()
        await asyncio.sleep(self.leeway(record.cell))

    def leeway(self, cell: CellName) -> float:
        """Seconds that a cell has to stop what was deleted by force: none where it is cut off."""
        try:
            self._cells.channel(cell)
        except Fault:
            return 0.0
        return FORCED

    async def _stop_on_cell(self, record: SandboxRecord) -> None:
        # The cell ends afterwards, reached or not.
        there = OneCell(self._cells, record.cell, patience=PATIENCE)
        try:
            await there.stop_sandbox(record.id)
            await self._following.refresh(record)
        except Fault as fault:
            log.warning("a sandbox was not stopped on its cell", cell=record.cell, cause=str(fault))
            if is_over(self._cells.get(record.cell)):
                return
        await self._following.logs_complete(record.id)


def pod_of(config: cri.PodSandboxConfig) -> PodRef:
    """Which attempt at which pod a sandbox config is for. Raises Fault INVALID without a uid."""
    metadata = config.metadata
    if not metadata.uid:
        raise Fault(Kind.INVALID, "the sandbox config", "metadata.uid is empty", "name the pod by its uid")
    return PodRef(uid=PodUid(metadata.uid), namespace=metadata.namespace, name=metadata.name, attempt=metadata.attempt)


def claim_of(config: cri.PodSandboxConfig, demand: Demand, owner: str, images: tuple[str, ...] = ()) -> PodClaim:
    """What this attempt at a pod asks of the fleet: with the pod's own labels, annotations that are requirements, and
    the images that it will want, as far as they are known. Raises Fault INVALID without a uid.
    """
    return PodClaim(
        pod=pod_of(config),
        demand=demand,
        labels={key: text for key, text in config.labels.items() if key not in IDENTITY},
        annotations={
            key: text
            for key, text in config.annotations.items()
            if key.startswith(PREFIX) and key.removeprefix(PREFIX) not in SHOWN
        },
        by=owner,
        images=images,
    )
