"""Sandboxes whose instance the cloud will take: not ready at once, their containers ended within what is left.

A kubelet that sees its sandbox not ready kills the containers itself, their preStop hooks first, and makes a new one
where the pod restarts. So it is left to it for as long as a whole grace period fits; after that, and where no kubelet
asks, the signal is sent from here.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.fleet.cells import Cells
from controller.model.cell import Announcement, Cell, CellState
from controller.model.names import CellName
from controller.sandboxes import reducer
from controller.sandboxes.container_lifecycle import Containers
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord

log = structlog.get_logger()
# A sandbox may be on its way to a cell when its end is announced.
LOOK_AGAIN = 0.5
# The kubelet tells the pod's grace period by this annotation of each container; and Kubernetes' own default.
GRACE = "io.kubernetes.pod.terminationGracePeriod"
DEFAULT_GRACE = 30.0
# A kubelet looks once a second, and gives a container two seconds beyond its preStop hook.
HEAD_START = 5.0


class Interruptions:
    """Watches the cells of one room for announcements, and ends the sandboxes that they concern."""

    def __init__(self, cells: Cells, memory: Memory, containers: Containers, owner: str) -> None:
        self._owner = owner
        self._cells = cells
        self._memory = memory
        self._containers = containers
        self._begun: set[CellName] = set()

    async def watch(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            async for cell in self._cells.watch():
                known = cell.announced
                if cell.claim is None or cell.claim.by != self._owner:
                    continue
                if cell.state is not CellState.CLAIMED:
                    self._begun.discard(cell.name)
                elif known is not None and known.ending_since and cell.name not in self._begun:
                    self._begun.add(cell.name)
                    tasks.create_task(self._end(cell, known), name=f"interruption of {cell.name}")

    async def _end(self, cell: Cell, known: Announcement) -> None:
        record = await self._sandbox_of(cell)
        if record is None or record.released:
            return
        why = sentence(cell, known)
        log.warning("the sandbox ends before its instance", sandbox=record.id, cell=cell.name, cause=why)

        def over(before: SandboxRecord) -> SandboxRecord:
            status = reducer.not_ready(cri.PodSandboxStatus.FromString(before.status))
            return msgspec.structs.replace(before, status=status.SerializeToString(), interrupted=why)

        try:
            await self._memory.change_sandbox(record.id, over)
            async with asyncio.TaskGroup() as tasks:
                for container in self._memory.containers_of(record.id):
                    if not reducer.exited(container.status):
                        tasks.create_task(self._stop(container, known))
        except* Fault as group:
            log.warning("a sandbox was not ended whole", sandbox=record.id, cause=str(group.exceptions[0]))

    async def _sandbox_of(self, cell: Cell) -> SandboxRecord | None:
        """The cell's sandbox, once there is one; None where there will be none."""
        while (record := self._memory.sandbox_of_cell(cell.name)) is None:
            now = self._cells.get(cell.name)
            if now is None or now.state is not CellState.CLAIMED:
                return None
            await asyncio.sleep(LOOK_AGAIN)
        return record

    async def _stop(self, container: ContainerRecord, known: Announcement) -> None:
        grace = grace_of(cri.ContainerStatus.FromString(container.status))
        await asyncio.sleep(signal_in(known, grace, time.time()))
        await self._containers.stop(container.id, grace)


def grace_of(status: cri.ContainerStatus) -> float:
    """The grace period of the container's pod, seconds. Pure."""
    told = status.annotations.get(GRACE, "")
    return float(told) if told.isascii() and told.isdigit() else DEFAULT_GRACE


def signal_at(known: Announcement, grace: float) -> float:
    """The unix second at which a container is sent its signal, if the kubelet has not done it by then. Pure."""
    return max(known.ending_since, min(known.ending_since + grace + HEAD_START, known.over_by - grace))


def signal_in(known: Announcement, grace: float, now: float) -> float:
    """In how many seconds that is; where the clock was ahead as it was announced, no later than it would be from now.
    Pure.
    """
    return min(max(signal_at(known, grace) - now, 0.0), grace + HEAD_START)


def sentence(cell: Cell, known: Announcement) -> str:
    """For people: what happens to which instance, and when. Pure."""
    when = time.strftime(" at %Y-%m-%dT%H:%M:%SZ", time.gmtime(known.at)) if known.at else ""
    happens = f" will be reclaimed{when}" if known.ends else ""
    return f"instance {cell.instance}{happens}: {known.message}"
