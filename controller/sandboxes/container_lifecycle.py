"""The life of a container on its cell, in memory as it goes: made, started, stopped, removed."""

from __future__ import annotations

import asyncio
import secrets
import time

import msgspec
import structlog

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.model.cell import Announcement
from controller.model.names import CellName
from controller.sandboxes import carried, following, reducer
from controller.sandboxes.carried import Carrier
from controller.sandboxes.cell_calls import is_over
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.following import Following
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.resize import require_fits
from hostkit.tasks import KeyedLocks

log = structlog.get_logger()


class Containers:
    """Containers of one room. `patience` is how long its calls wait for a cell that has lost its connection, see
    `cell_calls.CellCalls`.
    """

    def __init__(
        self, cells: Cells, memory: Memory, followed: Following, carrier: Carrier, patience: float | None
    ) -> None:
        self._cells = cells
        self._memory = memory
        self._following = followed
        self._carrier = carrier
        self._patience = patience
        self._turns = KeyedLocks[tuple[str, str]]()

    def on(self, cell: CellName) -> OneCell:
        """The runtime on a cell."""
        return OneCell(self._cells, cell, patience=self._patience)

    async def create(
        self,
        asked: cri.CreateContainerRequest,
        known_as: cri.ContainerConfig,
        *,
        log_path: str = "",
        copies: dict[str, str] | None = None,
    ) -> str:
        """Make a container of a sandbox; its id. `known_as` is its config as it is told to who asks for its status,
        the paths in it; for the rest see `records.ContainerRecord`. It is stored soon, see `Memory.keep_made`. Raises
        Fault.
        """
        sandbox = self._memory.sandbox(asked.pod_sandbox_id)
        named = reducer.named_container(secrets.token_hex(32), known_as, log_path)
        record = ContainerRecord(
            id=named.id,
            sandbox=sandbox.id,
            cell=sandbox.cell,
            status=named.SerializeToString(),
            log_path=log_path,
            copies=copies or {},
        )
        wanted = wire.MakeContainerRequest(
            container_id=record.id,
            asked=asked,
            carried=self._carrier.packed(sandbox.cell, record.id, msgspec.msgpack.encode(record)),
            carried_path=carried.path(record.id),
        )
        async with self._turns[sandbox.id, known_as.metadata.name]:
            told = await self.on(sandbox.cell).make_container(wanted, lambda: self._memory.written(sandbox.id))
            made = reducer.made_container(named, told)
            self._memory.keep_made(msgspec.structs.replace(record, status=made.SerializeToString()))
        return record.id

    async def start(self, container_id: str) -> None:
        """Start a created container. Raises Fault."""
        await self._memory.stored(self._memory.container(container_id).id)
        record = self._memory.container(container_id)
        before = cri.ContainerStatus.FromString(record.status)
        require_ready(self._memory.sandbox(record.sandbox), before.metadata.name)
        there = self.on(record.cell)
        # From its first byte on; while the cell is busy with the start.
        self._following.start_log(record)
        try:
            await there.start_container(record.id)
        except Fault:
            await self._learn(there, record.id)
            # A call that a lost connection has ended is made again, and may have been heard the first time.
            if before.state != cri.CONTAINER_CREATED or not _has_run(self._memory.container(record.id)):
                raise
        else:
            if not await self._heard_of_start(record):
                await self._learn(there, record.id)

    async def stop(self, container_id: str, grace: float) -> None:
        """Stop the container within its grace. The unknown and the lost are stopped already."""
        try:
            record = self._memory.container(container_id)
        except Fault:
            return
        if reducer.exited(record.status):
            return
        there = self.on(record.cell)
        await there.connect()  # how much is left of its instance is known afterwards
        if (cell := self._cells.get(record.cell)) is not None:
            grace = shortened(grace, cell.announced, time.time())
        await there.stop_container(record.id, grace)
        await self._learn(there, record.id)

    async def remove(self, container_id: str) -> None:
        """Remove the container on its cell, if that still lives, and forget it. The unknown is removed already."""
        try:
            record = self._memory.container(container_id)
        except Fault:
            return
        await self.stop(record.id, 0)
        await self._following.log_complete(record.id)
        over = is_over(self._cells.get(record.cell)) or self._memory.sandbox(record.sandbox).released
        if not over:
            await self.on(record.cell).remove_container(record.id)
        await self._memory.forget_container(record)
        self._following.removed(record.id)

    async def update(self, request: cri.UpdateContainerResourcesRequest) -> None:
        """Change what a container may use, within what its cell has. Raises Fault."""
        record = self._memory.container(request.container_id)
        cell = self._cells.get(record.cell)
        if cell is not None:
            name = cri.ContainerStatus.FromString(record.status).metadata.name
            require_fits(f"container {name}", request.linux, cell)
        there = self.on(record.cell)
        request.container_id = record.id
        await there.update_container(request)
        await self._learn(there, record.id)

    async def exec_sync(self, request: cri.ExecSyncRequest, deadline: float) -> cri.ExecSyncResponse:
        """Run a command in a container and wait for it. Raises Fault."""
        record = self._memory.container(request.container_id)
        request.container_id = record.id
        return await self.on(record.cell).exec_sync(request, deadline)

    async def _heard_of_start(self, record: ContainerRecord) -> bool:
        """Whether the cell has told of a start by an event, as it does before it answers: then it need not be asked."""
        await asyncio.sleep(0)  # an event that came with the answer begins to be written down
        await self._memory.written(record.sandbox)
        return not self._memory.is_in(record.id, cri.CONTAINER_CREATED)

    async def _learn(self, there: OneCell, container_id: str) -> None:
        """Take the container's state over at once, so that the next question finds it."""
        try:
            await following.learn(self._memory, there, container_id, await there.container_status(container_id))
        except Fault as fault:
            log.info("container state not known yet", container=container_id, cause=str(fault))


def shortened(grace: float, known: Announcement | None, now: float) -> float:
    """Seconds that a container may take to stop: what was asked for, within what is left of its instance. Pure."""
    return max(min(grace, known.over_by - now), 0.0) if known is not None and known.ending_since else grace


def require_ready(sandbox: SandboxRecord, container: str) -> None:
    """Raises Fault PRECONDITION where no container can be made or started in the sandbox any more."""
    if sandbox.released or cri.PodSandboxStatus.FromString(sandbox.status).state != cri.SANDBOX_READY:
        cause = f"its sandbox {sandbox.id[:13]} is not ready"
        raise Fault(Kind.PRECONDITION, f"container {container}", cause, "run the pod anew")


def _has_run(record: ContainerRecord) -> bool:
    status = cri.ContainerStatus.FromString(record.status)
    refused = status.exit_code == 128 and status.reason in {"StartError", "ContainerCannotRun"}
    return status.state in {cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED} and bool(status.started_at) and not refused
