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
from grpclib.client import Channel

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.call import call, settled
from controller.fleet.cells import Cells
from controller.shim import mirror, volumes
from controller.shim.memory import Memory
from controller.shim.records import ContainerRecord, SandboxRecord
from controller.shim.stats import Stats

log = structlog.get_logger()
DEADLINE = 30.0
# After a broken event stream; the next try waits for the cell to be connected anyway.
PAUSE = 0.5
STATS_EVERY = 10.0


class Follower:
    """Keeps the memory of one sandbox as its cell says."""

    def __init__(self, record: SandboxRecord, cells: Cells, memory: Memory, stats: Stats) -> None:
        self._id = record.id
        self._cell = record.cell
        self._cells = cells
        self._memory = memory
        self._stats = stats

    async def follow(self) -> None:
        """Run until cancelled, or until the cell is lost."""
        while True:
            try:
                channel = await self._cells.connected(self._cell)
            except Fault as fault:
                await self._lost(str(fault))
                return
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._events(channel), name=f"events of {self._cell}")
                    tasks.create_task(self._poll_stats(channel), name=f"stats of {self._cell}")
            except ExceptionGroup as broken:
                log.info("cell out of reach", cell=self._cell, cause=str(broken.exceptions[0]))
            await asyncio.sleep(PAUSE)

    async def refresh(self, channel: Channel) -> None:
        """Ask the cell for the state of the sandbox and of each container."""
        stub = runtime_grpc.RuntimeServiceStub(channel)
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=self._id)
        try:
            reply = await call(stub.PodSandboxStatus, request, deadline=DEADLINE)
        except Fault:
            return
        await self._sandbox_news(reply.status)
        for container in self._memory.containers_of(self._id):
            wanted = cri.ContainerStatusRequest(container_id=container.id)
            reply = await call(stub.ContainerStatus, wanted, deadline=DEADLINE)
            await learn(self._memory, channel, reply.status)

    async def _events(self, channel: Channel) -> None:
        with settled():
            async with runtime_grpc.RuntimeServiceStub(channel).GetContainerEvents.open() as stream:
                await stream.send_message(cri.GetEventsRequest(), end=True)
                # Asked after the stream stands, so that no change falls between the two.
                await self.refresh(channel)
                async for event in stream:
                    await self._event(channel, event)
        raise ConnectionResetError("the event stream ended")

    async def _event(self, channel: Channel, event: cri.ContainerEventResponse) -> None:
        if event.HasField("pod_sandbox_status") and event.pod_sandbox_status.id == self._id:
            await self._sandbox_news(event.pod_sandbox_status)
        for status in event.containers_statuses:
            await learn(self._memory, channel, status)

    async def _sandbox_news(self, news: cri.PodSandboxStatus) -> None:
        def learn(record: SandboxRecord) -> SandboxRecord:
            merged = mirror.next_sandbox(cri.PodSandboxStatus.FromString(record.status), news)
            return msgspec.structs.replace(record, status=merged.SerializeToString())

        await self._memory.change_sandbox(self._id, learn)

    async def _poll_stats(self, channel: Channel) -> None:
        while True:
            await self._stats.poll(channel)
            await asyncio.sleep(STATS_EVERY)

    async def _lost(self, cause: str) -> None:
        log.warning("cell lost", cell=self._cell, sandbox=self._id, cause=cause)
        await end(self._memory, self._id, cause)


async def learn(memory: Memory, channel: Channel, news: cri.ContainerStatus) -> None:
    """Take over what a cell says of a container.

    A kubelet reads the termination message as soon as it sees the container exited, so that is brought back before.
    """
    try:
        record = memory.container(news.id)
    except Fault:
        return
    if news.state == cri.CONTAINER_EXITED and not mirror.exited(record.status):
        for on_cell, here in record.copies.items():
            try:
                await volumes.fetch(channel, on_cell, Path(here))
            except Fault as fault:
                log.warning("a termination message did not come back", container=news.id, cause=str(fault))
    await memory.learn_container(news)


async def end(memory: Memory, sandbox_id: str, cause: str) -> None:
    """Tell the kubelet that a sandbox and its containers are over: the cell is lost or was given back."""

    def container_over(record: ContainerRecord) -> ContainerRecord:
        status = mirror.lost(cri.ContainerStatus.FromString(record.status), cause, time.time())
        return msgspec.structs.replace(record, status=status.SerializeToString())

    def sandbox_over(record: SandboxRecord) -> SandboxRecord:
        over = mirror.not_ready(cri.PodSandboxStatus.FromString(record.status))
        return msgspec.structs.replace(record, status=over.SerializeToString())

    for container in memory.containers_of(sandbox_id):
        await memory.change_container(container.id, container_over)
    await memory.change_sandbox(sandbox_id, sandbox_over)
