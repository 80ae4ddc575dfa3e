"""The tasks that run for each sandbox while its cell lives: its state is followed, its volumes and logs are copied.

All of them belong to one TaskGroup; each sandbox's can be ended on its own. A fault in one ends none of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import structlog

from cellwire.faults import Fault
from controller.fleet.cells import Cells
from controller.logs.mirror import Mirror
from controller.sandboxes.memory import Memory
from controller.sandboxes.owned import Supervisor
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.stats import Stats
from controller.shim.follower import Follower
from controller.shim.syncing import VolumeSync

log = structlog.get_logger()
# How long a container's removal, and a cell, wait for log bytes that have not arrived.
LOG_GRACE = 30.0


class Following:
    """Starts, finds and ends the tasks of each sandbox."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        cells: Cells,
        memory: Memory,
        stats: Stats,
        volumes: VolumeSync,
        mirror: Mirror,
        supervisor: Supervisor,
    ) -> None:
        self._group = tasks
        self._supervisor = supervisor
        self._volumes = volumes
        self._cells = cells
        self._memory = memory
        self._stats = stats
        self._followers: dict[str, Follower] = {}
        self._follow_tasks: dict[str, asyncio.Task[None]] = {}
        self._volume_tasks: dict[str, asyncio.Task[None]] = {}
        self._mirror = mirror
        self._copy_tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, record: SandboxRecord) -> None:
        """Follow a sandbox from now on, the logs of its containers too."""
        if record.id in self._follow_tasks:
            return
        follower = Follower(record, self._cells, self._memory, self._stats)
        self._followers[record.id] = follower
        self._follow_tasks[record.id] = self._spawn("following a cell", record.id, follower.follow)
        self._volume_tasks[record.id] = self._spawn("volumes", record.id, partial(self._volumes.keep, record))
        for container in self._memory.containers_of(record.id):
            self.start_log(container)

    def start_log(self, record: ContainerRecord) -> None:
        """Copy a container's log to the kubelet's file until it is complete, unless that is under way or done."""
        if not record.log_path or record.log_complete or record.sandbox not in self._follow_tasks:
            return
        task = self._copy_tasks.get(record.id)
        if task is not None and not task.done():
            return
        self._copy_tasks[record.id] = self._spawn("log copy", record.id, partial(self._copy, record))

    async def refresh(self, sandbox_id: str) -> None:
        """Take over what the cell says of the sandbox now. Raises Fault."""
        follower = self._followers.get(sandbox_id)
        if follower is not None:
            await follower.refresh()

    def started(self, sandbox_id: str) -> None:
        """A container of the sandbox has started."""
        self._stats.stale(sandbox_id)

    def removed(self, container_id: str) -> None:
        """A container is no more."""
        self._stats.forget_container(container_id)
        task = self._copy_tasks.pop(container_id, None)
        if task is not None:
            task.cancel()

    async def log_complete(self, container_id: str) -> None:
        """Wait until the container's log is complete here, or its grace is over; one never started has none.

        A copy that had ended before is begun once more: this is the last time that the cell can be asked. Where that
        one ends as well or is late, the controller's own log says that bytes are missing, and why.
        """
        if not self._memory.knows(container_id) or self._memory.only_created(container_id):
            return
        self.start_log(self._memory.container(container_id))
        task = self._copy_tasks.get(container_id)
        if task is not None:
            _, late = await asyncio.wait((task,), timeout=LOG_GRACE)
            if late:
                cause = self._mirror.hindrance(container_id) or "the cell did not send the last ones in time"
                log.warning("log bytes may be missing", container=container_id, cause=cause)
            elif self._memory.knows(container_id) and not self._memory.container(container_id).log_complete:
                log.error("log bytes are lost: their copy has ended before them", container=container_id)

    async def logs_complete(self, sandbox_id: str) -> None:
        """Wait until the logs of all the sandbox's containers are complete here, or their grace is over."""
        async with asyncio.TaskGroup() as tasks:
            for container in self._memory.containers_of(sandbox_id):
                tasks.create_task(self.log_complete(container.id))

    def reopen_log(self, container_id: str) -> None:
        """The kubelet has moved the log file away, or misses it: what comes goes to a new one. Raises Fault."""
        self._mirror.reopen(container_id)
        self.start_log(self._memory.container(container_id))

    async def stop(self, sandbox_id: str) -> None:
        """End the tasks of a sandbox."""
        containers = [container.id for container in self._memory.containers_of(sandbox_id)]
        mine = [self._copy_tasks.pop(one, None) for one in containers]
        mine += [self._follow_tasks.pop(sandbox_id, None), self._volume_tasks.pop(sandbox_id, None)]
        self._followers.pop(sandbox_id, None)
        ending = [task for task in mine if task is not None]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        self._stats.forget(sandbox_id, containers)

    async def close(self) -> None:
        """End the tasks of all sandboxes; the cells run on."""
        for sandbox_id in tuple(self._follow_tasks):
            await self.stop(sandbox_id)

    def _spawn(self, kind: str, owner: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return self._group.create_task(self._kept(kind, owner, work), name=f"{kind} of {owner}")

    async def _kept(self, kind: str, owner: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._supervisor.keep(kind, owner, work)
        except Fault as fault:
            log.warning("a task of a sandbox ended", kind=kind, owner=owner, cause=str(fault))

    async def _copy(self, record: ContainerRecord) -> None:
        path = Path(record.log_path)
        await self._mirror.copy(lambda: self._cells.connected(record.cell), record.id, path, follow=True)
        await self._memory.change_container(record.id, lambda known: msgspec.structs.replace(known, log_complete=True))
