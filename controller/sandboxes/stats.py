"""The last stats and metrics of every sandbox and container, as their cells reported them.

Cells are asked at intervals, and a kubelet is answered from here. What has begun since the last round is asked for
when somebody wants it, so that a container that runs is never missing.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.fleet.cells import Cells
from controller.sandboxes.cell_calls import is_over
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import SandboxRecord

log = structlog.get_logger()
# A kubelet waits for an answer to a list meanwhile; a cell that is well answers within milliseconds.
ASKED_DEADLINE = 2.0
POLL_EVERY = 10.0
# A cell that did not answer is not asked again at once.
ASK_EVERY = 10.0


class Stats:
    """Stats by the id of their container or sandbox."""

    def __init__(self, cells: Cells, memory: Memory, folder: str) -> None:
        self._cells = cells
        self._memory = memory
        self._folder = folder
        self._asked: dict[str, tuple[float, frozenset[str]]] = {}
        # What ran when the cell was asked last, and of which containers it told.
        self._polled: dict[str, frozenset[str]] = {}
        self._told: dict[str, tuple[str, ...]] = {}
        self.containers: dict[str, cri.ContainerStats] = {}
        self.sandboxes: dict[str, cri.PodSandboxStats] = {}
        self.metrics: dict[str, cri.PodSandboxMetrics] = {}

    async def keep(self, record: SandboxRecord) -> None:
        """Poll the cell of a sandbox until cancelled; what is known is forgotten then."""
        there = OneCell(self._cells, record.cell)
        try:
            while not is_over(self._cells.get(record.cell)):
                try:
                    await self._poll(record.id, there)
                except Fault as fault:
                    log.info("no stats of a sandbox now", sandbox=record.id[:13], cause=str(fault))
                await asyncio.sleep(POLL_EVERY)
        finally:
            self._forget(record.id)

    async def complete(self) -> None:
        """Ask the cells of sandboxes in which others run than when they were asked last, all at once."""
        now = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for sandbox, running in self._running().items():
                at, then = self._asked.get(sandbox, (0.0, None))
                if running not in (self._polled.get(sandbox), then if now - at < ASK_EVERY else None):
                    self._asked[sandbox] = now, running
                    tasks.create_task(self._ask(sandbox), name=f"stats of {sandbox}")

    def _running(self) -> dict[str, frozenset[str]]:
        """The containers that run, by their sandbox, of sandboxes that are ready."""
        ready = {one.id for one in self._memory.listed_sandboxes() if one.state == cri.SANDBOX_READY}
        found: dict[str, set[str]] = {sandbox: set() for sandbox in ready}
        for one in self._memory.listed_containers():
            if one.state == cri.CONTAINER_RUNNING and one.pod_sandbox_id in found:
                found[one.pod_sandbox_id].add(one.id)
        return {sandbox: frozenset(running) for sandbox, running in found.items()}

    async def _poll(self, sandbox_id: str, there: OneCell) -> None:
        own = {one.id for one in self._memory.containers_of(sandbox_id)}
        running = frozenset(one for one in own if self._memory.is_in(one, cri.CONTAINER_RUNNING))
        found = await there.stats(self._memory.listed(sandbox_id))
        of_sandbox = found.sandbox.linux.containers if found.sandbox is not None else ()
        for one in (*found.containers.values(), *of_sandbox):
            # A kubelet looks the folder up on its own machine, and has no summary at all where it is not there.
            one.writable_layer.fs_id.mountpoint = self._folder
        self._forget(sandbox_id)
        told = {name: one for name, one in found.containers.items() if self._memory.knows(name)}
        self._polled[sandbox_id], self._told[sandbox_id] = running, tuple(told)
        self.containers |= told
        if found.sandbox is not None:
            self.sandboxes[sandbox_id] = found.sandbox
        if found.metrics is not None:
            self.metrics[sandbox_id] = found.metrics

    def _forget(self, sandbox_id: str) -> None:
        for known in (self.sandboxes, self.metrics, self._asked, self._polled):
            known.pop(sandbox_id, None)
        for container in self._told.pop(sandbox_id, ()):
            self.containers.pop(container, None)

    async def _ask(self, sandbox_id: str) -> None:
        try:
            async with asyncio.timeout(ASKED_DEADLINE):
                await self._poll(sandbox_id, OneCell(self._cells, self._memory.sandbox(sandbox_id).cell))
        except (Fault, TimeoutError) as fault:
            log.info("no stats of a sandbox yet", sandbox=sandbox_id[:13], cause=str(fault) or "its cell is slow")
