"""The last stats and metrics of every sandbox and container, as their cells reported them.

Cells are asked at intervals, and a kubelet is answered from here. What has begun since the last round is asked for
when somebody wants it, so that a container that runs is never missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import structlog
from grpclib.client import Channel

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.call import call
from controller.fleet.cells import Cells
from controller.shim.memory import Memory

log = structlog.get_logger()
DEADLINE = 30.0
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

    async def poll(self, channel: Channel) -> None:
        """Ask one cell for all it has. Raises Fault."""
        stub = runtime_grpc.RuntimeServiceStub(channel)
        containers = await call(stub.ListContainerStats, cri.ListContainerStatsRequest(), deadline=DEADLINE)
        sandboxes = await call(stub.ListPodSandboxStats, cri.ListPodSandboxStatsRequest(), deadline=DEADLINE)
        metrics = await call(stub.ListPodSandboxMetrics, cri.ListPodSandboxMetricsRequest(), deadline=DEADLINE)
        for one in (*containers.stats, *(one for pod in sandboxes.stats for one in pod.linux.containers)):
            # A kubelet looks the folder up on its own machine, and has no summary at all where it is not there.
            one.writable_layer.fs_id.mountpoint = self._folder
        self.containers |= {one.attributes.id: one for one in containers.stats if self._memory.knows(one.attributes.id)}
        self.sandboxes |= {one.attributes.id: one for one in sandboxes.stats}
        self.metrics |= {one.pod_sandbox_id: one for one in metrics.pod_metrics}

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
                await self.poll(self._cells.channel(self._memory.sandbox(sandbox_id).cell))
        except (Fault, TimeoutError) as fault:
            log.info("no stats of a sandbox yet", sandbox=sandbox_id[:13], cause=str(fault) or "its cell is slow")
