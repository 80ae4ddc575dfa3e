"""Follows sandboxes on their cells: what happens there flows into memory, and the logs of their containers are copied.

A sandbox is followed from the moment it runs until its cell is given back. While the cell is out of reach the memory
stays as it was; once the fleet says that it is lost, the sandbox is not ready and its containers have exited. A fault
in one task ends none of the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.sandboxes import reducer
from controller.sandboxes.cell_calls import PATIENCE, is_over
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.told import News
from controller.sandboxes.ways import Ways

log = structlog.get_logger()
DEADLINE = 30.0
# After a broken event stream; the next try waits for the cell to be connected anyway.
PAUSE = 0.25
LONGEST_PAUSE = 30.0
READ_BACK_DEADLINE = 10.0
# The kubelet itself shows no more of a termination message (12 KiB for a whole pod).
TERMINATION_LIMIT = 12 << 10

Beside = tuple[str, Callable[[SandboxRecord], Awaitable[None]]]
"""Further work for each sandbox that is followed, and what it is called."""


async def _kept_whole(path: Path) -> None:
    del path


def _nobody(record: ContainerRecord, said: str) -> None:
    del record, said


@dataclass(frozen=True, slots=True)
class LogKeeping:
    """What is done with logs that are copied: `grown` is awaited whenever one has become much longer and when it has
    ended, `told` hears of those that are not whole.
    """

    grown: Callable[[Path], Awaitable[None]] = _kept_whole
    told: Callable[[ContainerRecord, str], None] = _nobody


class Following:
    """Starts, finds and ends the tasks of each sandbox, all in one TaskGroup."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        cells: Cells,
        memory: Memory,
        ways: Ways,
        logs: LogKeeping = LogKeeping(),  # a value that nobody changes
    ) -> None:
        self._group = tasks
        self._cells = cells
        self._memory = memory
        self._ways = ways
        self._logs = LogKeeping()
        self._beside: tuple[Beside, ...] = ()
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._copies: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, str] = {}
        """Why the last copy of a log has ended before the log."""

    def take_up(self, beside: Sequence[Beside] = (), logs: LogKeeping | None = None) -> None:
        """Follow what an earlier life of the controller followed; `beside` is done for each sandbox from now on, and
        `logs` for each log.
        """
        self._beside, self._logs = tuple(beside), logs or self._logs
        for record in self._memory.sandboxes():
            if not record.released:
                self.start(record)

    def start(self, record: SandboxRecord) -> None:
        """Follow a sandbox from now on, the logs of its containers too."""
        if record.id in self._tasks:
            return
        works = (("following a cell", self._follow), *self._beside)
        self._tasks[record.id] = [self._spawn(kind, record.id, partial(work, record)) for kind, work in works]
        for container in self._memory.containers_of(record.id):
            self.start_log(container)

    def start_log(self, record: ContainerRecord) -> None:
        """Copy a container's log to its file until it is complete, unless that is under way or done."""
        if not record.log_path or record.log_complete or record.sandbox not in self._tasks:
            return
        task = self._copies.get(record.id)
        if task is None or task.done():
            self._failures.pop(record.id, None)
            said = partial(self._copy_failed, record)
            self._copies[record.id] = self._spawn("log copy", record.id, partial(self._copy, record), said)

    async def refresh(self, sandbox: SandboxRecord) -> None:
        """Ask the cell for the state of the sandbox and of each container. Raises Fault."""
        there = self._there(sandbox)
        try:
            await self._sandbox_news(sandbox.id, await there.sandbox_status(sandbox.id, DEADLINE))
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise
            log.warning("a cell knows its sandbox no more", cell=sandbox.cell, sandbox=sandbox.id)
        for container in self._memory.containers_of(sandbox.id):
            await learn(self._memory, there, container.id, await there.container_status(container.id))

    def removed(self, container_id: str) -> None:
        """A container is no more."""
        self._failures.pop(container_id, None)
        task = self._copies.pop(container_id, None)
        if task is not None:
            task.cancel()

    async def log_complete(self, container_id: str) -> None:
        """Wait until the container's log is complete here, or its grace is over; one never started has none.

        A copy that had ended before is begun once more: this is the last time that the cell can be asked. Where that
        one ends as well or is late, it is said that bytes are missing, and why.
        """
        if not self._memory.knows(container_id) or self._memory.is_in(container_id, cri.CONTAINER_CREATED):
            return
        record = self._memory.container(container_id)
        self.start_log(record)
        task = self._copies.get(container_id)
        if task is None:
            return
        _, late = await asyncio.wait((task,), timeout=self._ways.log_grace)
        if late:
            cause = self._ways.mirror.hindrance(container_id) or "the cell did not send the last ones in time"
            log.warning("log bytes may be missing", container=container_id, cause=cause)
            self._logs.told(record, f"its cell is given back with a log that did not end in time: {cause}")
        elif self._memory.knows(container_id) and not self._memory.container(container_id).log_complete:
            cause = self._failures.get(container_id, "its cell was lost before it had sent them")
            log.error("log bytes are lost", container=container_id, cause=cause)

    def _copy_failed(self, record: ContainerRecord, cause: str) -> None:
        self._failures[record.id] = cause
        self._logs.told(record, cause)

    async def logs_complete(self, sandbox_id: str) -> None:
        """Wait until the logs of all the sandbox's containers are complete here, or their grace is over."""
        async with asyncio.TaskGroup() as tasks:
            for container in self._memory.containers_of(sandbox_id):
                tasks.create_task(self.log_complete(container.id))

    def reopen_log(self, container_id: str) -> None:
        """The kubelet has moved the log file away, or misses it: what comes goes to a new one. Raises Fault."""
        self._ways.mirror.reopen(container_id)
        self.start_log(self._memory.container(container_id))

    async def stop(self, sandbox_id: str) -> None:
        """End the tasks of a sandbox."""
        containers = self._memory.containers_of(sandbox_id)
        copies = [self._copies.pop(one.id, None) for one in containers]
        for one in containers:
            self._failures.pop(one.id, None)
        ending = [*self._tasks.pop(sandbox_id, ()), *(task for task in copies if task is not None)]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    async def close(self) -> None:
        """End the tasks of all sandboxes; the cells run on."""
        for sandbox_id in tuple(self._tasks):
            await self.stop(sandbox_id)

    def _spawn(
        self, kind: str, owner: str, work: Callable[[], Awaitable[None]], told: Callable[[str], None] | None = None
    ) -> asyncio.Task[None]:
        return self._group.create_task(self._kept(kind, owner, work, told), name=f"{kind} of {owner}")

    async def _kept(
        self, kind: str, owner: str, work: Callable[[], Awaitable[None]], told: Callable[[str], None] | None
    ) -> None:
        said = told or (lambda _: None)
        try:
            await self._ways.supervisor.keep(kind, owner, work, said)
        except Fault as fault:
            log.warning("a task of a sandbox ended", kind=kind, owner=owner, cause=str(fault))
            said(str(fault))

    async def _follow(self, record: SandboxRecord) -> None:
        """Run until cancelled, or until the cell is lost."""
        there, pause = self._there(record), PAUSE
        while True:
            begun = time.monotonic()
            try:
                await self._cells.connected(record.cell)
            except Fault as fault:
                log.warning("cell lost", cell=record.cell, sandbox=record.id, cause=str(fault))
                await end(self._memory, record.id, str(fault))
                return
            try:
                heard = partial(self._heard, record.id, there)
                await there.events(record.id, self._memory.owner_of, partial(self.refresh, record), heard)
                log.info("the events of a cell ended", cell=record.cell)
            except Fault as broken:
                log.info("cell out of reach", cell=record.cell, cause=str(broken))
            # A cell that is heard and not believed is heard less and less often.
            pause = PAUSE if time.monotonic() - begun > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _heard(self, sandbox_id: str, there: OneCell, news: News) -> None:
        if news.sandbox is not None:
            await self._sandbox_news(sandbox_id, news.sandbox)
        for status in news.containers:
            await learn(self._memory, there, status.id, status)

    async def _sandbox_news(self, sandbox_id: str, news: cri.PodSandboxStatus) -> None:
        def learnt(record: SandboxRecord) -> SandboxRecord:
            merged = reducer.next_sandbox(cri.PodSandboxStatus.FromString(record.status), news)
            return msgspec.structs.replace(record, status=merged.SerializeToString())

        await self._memory.change_sandbox(sandbox_id, learnt)

    async def _copy(self, record: ContainerRecord) -> None:
        path = Path(record.log_path)
        try:
            await self._ways.mirror.copy(
                lambda: self._cells.connected(record.cell),
                record.id,
                path,
                follow=True,
                grown=partial(self._logs.grown, path),
            )
        except Fault as fault:
            if not is_over(self._cells.get(record.cell)):
                raise
            log.info("a log ends where its cell was lost", container=record.id, cause=str(fault))
            return
        # All of it is here: a store that takes no writes just now does not make it less.
        await self._ways.supervisor.persist("end of the log", record.id, partial(self._completed, record.id))
        await self._logs.grown(path)

    async def _completed(self, container_id: str) -> None:
        await self._memory.change_container(
            container_id, lambda known: msgspec.structs.replace(known, log_complete=True)
        )

    def _there(self, record: SandboxRecord) -> OneCell:
        return OneCell(self._cells, record.cell, patience=PATIENCE)


async def learn(memory: Memory, there: OneCell, container_id: str, news: cri.ContainerStatus | None) -> None:
    """Take over what a cell says of a container; None where it knows that no more, which is an end of it as well.

    Who waits for the container's end reads its termination message then, so that is brought back before.
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
                await _brought_back(there, on_cell, Path(here))
            except Fault as fault:
                log.warning("a termination message did not come back", container=container_id, cause=str(fault))
    await memory.learn_container(news)


async def end(memory: Memory, sandbox_id: str, cause: str) -> None:
    """A sandbox and its containers are over: the cell is lost or was given back."""

    def container_over(record: ContainerRecord) -> ContainerRecord:
        status = reducer.lost(cri.ContainerStatus.FromString(record.status), cause, time.time())
        return msgspec.structs.replace(record, status=status.SerializeToString())

    def sandbox_over(record: SandboxRecord) -> SandboxRecord:
        over = reducer.not_ready(cri.PodSandboxStatus.FromString(record.status))
        return msgspec.structs.replace(record, status=over.SerializeToString())

    for container in memory.containers_of(sandbox_id):
        await memory.change_container(container.id, container_over)
    await memory.change_sandbox(sandbox_id, sandbox_over)


async def _brought_back(there: OneCell, on_cell: str, target: Path) -> None:
    """The end of a small file of the cell, into an existing file here. Raises Fault."""
    data = await there.read_file(on_cell, TERMINATION_LIMIT, READ_BACK_DEADLINE)
    if data and target.exists():
        try:
            target.write_bytes(data)
        except OSError as error:
            raise Fault(Kind.BROKEN, f"termination message {target}", str(error)) from error
