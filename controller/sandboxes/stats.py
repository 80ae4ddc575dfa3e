"""The last stats and metrics of every sandbox and container, as their cells reported them.

Cells are asked at intervals, and a kubelet is answered from here. What has begun since the last round is asked for
when somebody wants it, so that a container that runs is never missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.fleet.cells import Cells
from controller.sandboxes.cell import OneCell
from controller.sandboxes.memory import Memory

log = structlog.get_logger()
# A kubelet waits for an answer to a list meanwhile; a cell that is well answers within milliseconds.
ASKED_DEADLINE = 2.0
# A cell that did not answer is not asked again at once.
ASK_EVERY = 10.0


class Stats:
    """Stats by the id of their container or sandbox."""

    def __init__(self, cells: Cells, memory: Memory, folder: str) -> None:
        self._cells = cells
        self._memory = memory
        self._folder = folder
        self._asked: dict[str, float] = {}
        self.containers: dict[str, cri.ContainerStats] = {}
        self.sandboxes: dict[str, cri.PodSandboxStats] = {}
        self.metrics: dict[str, cri.PodSandboxMetrics] = {}

    async def poll(self, sandbox_id: str, there: OneCell) -> None:
        """Ask the cell of a sandbox for all it has of that. Raises Fault."""
        found = await there.stats(sandbox_id, {one.id for one in self._memory.containers_of(sandbox_id)})
        of_sandbox = found.sandbox.linux.containers if found.sandbox is not None else ()
        for one in (*found.containers.values(), *of_sandbox):
            # A kubelet looks the folder up on its own machine, and has no summary at all where it is not there.
            one.writable_layer.fs_id.mountpoint = self._folder
        self.containers |= {name: one for name, one in found.containers.items() if self._memory.knows(name)}
        if found.sandbox is not None:
            self.sandboxes[sandbox_id] = found.sandbox
        if found.metrics is not None:
            self.metrics[sandbox_id] = found.metrics

    async def complete(self) -> None:
        """Ask the cells of running containers of which nothing is known yet, all at once."""
        missing = {
            one.pod_sandbox_id
            for one in self._memory.listed_containers()
            if one.state == cri.CONTAINER_RUNNING and one.id not in self.containers
        }
        missing |= {
            one.id
            for one in self._memory.listed_sandboxes()
            if one.state == cri.SANDBOX_READY and one.id not in self.sandboxes
        }
        if not missing:
            return
        async with asyncio.TaskGroup() as tasks:
            for sandbox_id in missing:
                tasks.create_task(self._ask(sandbox_id), name=f"stats of {sandbox_id}")

    def forget(self, sandbox_id: str, containers: Iterable[str]) -> None:
        """The sandbox is over."""
        self.sandboxes.pop(sandbox_id, None)
        self.metrics.pop(sandbox_id, None)
        self._asked.pop(sandbox_id, None)
        for container in containers:
            self.containers.pop(container, None)

    def forget_container(self, container_id: str) -> None:
        """The container is removed."""
        self.containers.pop(container_id, None)

    def stale(self, sandbox_id: str) -> None:
        """A container of the sandbox has started: what is known of it lacks that one."""
        self.sandboxes.pop(sandbox_id, None)
        self._asked.pop(sandbox_id, None)

    async def _ask(self, sandbox_id: str) -> None:
        now = time.monotonic()
        if now - self._asked.get(sandbox_id, -ASK_EVERY) < ASK_EVERY:
            return
        self._asked[sandbox_id] = now
        try:
            async with asyncio.timeout(ASKED_DEADLINE):
                await self.poll(sandbox_id, OneCell(self._cells, self._memory.sandbox(sandbox_id).cell))
        except (Fault, TimeoutError) as fault:
            log.info("no stats of a sandbox yet", sandbox=sandbox_id[:13], cause=str(fault) or "its cell is slow")
