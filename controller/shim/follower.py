"""Follows one claimed cell: its container events and stats flow into memory, and its end is told to the kubelet.

A follower lives from the moment its sandbox runs until the cell is released. While the cell is out of reach the memory
stays as it was; once the fleet says that it is lost, the sandbox is not ready and its containers have exited.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.sandboxes import reducer
from controller.sandboxes.cell import PATIENCE, OneCell
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.stats import Stats
from controller.sandboxes.told import News
from controller.shim import volumes

log = structlog.get_logger()
DEADLINE = 30.0
# After a broken event stream; the next try waits for the cell to be connected anyway.
PAUSE = 0.25
LONGEST_PAUSE = 30.0
STATS_EVERY = 10.0


class Follower:
    """Keeps the memory of one sandbox as its cell says."""

    def __init__(self, record: SandboxRecord, cells: Cells, memory: Memory, stats: Stats) -> None:
        self._id = record.id
        self._cell = record.cell
        self._cells = cells
        self._there = OneCell(cells, record.cell, patience=PATIENCE)
        self._memory = memory
        self._stats = stats

    async def follow(self) -> None:
        """Run until cancelled, or until the cell is lost."""
        pause = PAUSE
        while True:
            begun = time.monotonic()
            try:
                await self._cells.connected(self._cell)
            except Fault as fault:
                await self._lost(str(fault))
                return
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._events(), name=f"events of {self._cell}")
                    tasks.create_task(self._poll_stats(), name=f"stats of {self._cell}")
            except* Fault as broken:
                log.info("cell out of reach", cell=self._cell, cause=str(broken.exceptions[0]))
            # A cell that is heard and not believed is heard less and less often.
            pause = PAUSE if time.monotonic() - begun > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def refresh(self) -> None:
        """Ask the cell for the state of the sandbox and of each container. Raises Fault."""
        try:
            await self._sandbox_news(await self._there.sandbox_status(self._id, DEADLINE))
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise
            log.warning("a cell knows its sandbox no more", cell=self._cell, sandbox=self._id)
        for container in self._memory.containers_of(self._id):
            await learn(self._memory, self._there, container.id, await self._there.container_status(container.id))

    async def _events(self) -> None:
        await self._there.events(self._id, self._memory.owner_of, self.refresh, self._heard)
        raise Fault(Kind.UNREACHABLE, f"cell {self._cell}", "the event stream ended")

    async def _heard(self, news: News) -> None:
        if news.sandbox is not None:
            await self._sandbox_news(news.sandbox)
        for status in news.containers:
            await learn(self._memory, self._there, status.id, status)

    async def _sandbox_news(self, news: cri.PodSandboxStatus) -> None:
        def learn(record: SandboxRecord) -> SandboxRecord:
            merged = reducer.next_sandbox(cri.PodSandboxStatus.FromString(record.status), news)
            return msgspec.structs.replace(record, status=merged.SerializeToString())

        await self._memory.change_sandbox(self._id, learn)

    async def _poll_stats(self) -> None:
        while True:
            await self._stats.poll(self._id, self._there)
            await asyncio.sleep(STATS_EVERY)

    async def _lost(self, cause: str) -> None:
        log.warning("cell lost", cell=self._cell, sandbox=self._id, cause=cause)
        await end(self._memory, self._id, cause)


async def learn(memory: Memory, there: OneCell, container_id: str, news: cri.ContainerStatus | None) -> None:
    """Take over what a cell says of a container; None where it knows that no more, which is an end of it as well.

    A kubelet reads the termination message as soon as it sees the container exited, so that is brought back before.
    """
    if not memory.knows(container_id):
        return
    record = memory.container(container_id)
    if news is None:
        known = cri.ContainerStatus.FromString(record.status)
        news = reducer.lost(known, "the cell knows this container no more", time.time(), reducer.UNKNOWN)
    elif news.state == cri.CONTAINER_EXITED and not reducer.exited(record.status):
        for on_cell, here in record.copies.items():
            try:
                await volumes.fetch(there, on_cell, Path(here))
            except Fault as fault:
                log.warning("a termination message did not come back", container=container_id, cause=str(fault))
    await memory.learn_container(news)


async def end(memory: Memory, sandbox_id: str, cause: str) -> None:
    """Tell the kubelet that a sandbox and its containers are over: the cell is lost or was given back."""

    def container_over(record: ContainerRecord) -> ContainerRecord:
        status = reducer.lost(cri.ContainerStatus.FromString(record.status), cause, time.time())
        return msgspec.structs.replace(record, status=status.SerializeToString())

    def sandbox_over(record: SandboxRecord) -> SandboxRecord:
        over = reducer.not_ready(cri.PodSandboxStatus.FromString(record.status))
        return msgspec.structs.replace(record, status=over.SerializeToString())

    for container in memory.containers_of(sandbox_id):
        await memory.change_container(container.id, container_over)
    await memory.change_sandbox(sandbox_id, sandbox_over)
