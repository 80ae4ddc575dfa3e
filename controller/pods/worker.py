"""The running of one pod: a cell for it, its sandbox and containers there, another cell where one is lost.

What to do next is decided by `lifecycle`; this does it, one step at a time, and is cancelled by the request to delete
the pod, see `pod_keeper`. Nothing here is lost with the controller: each step is written down first, and `run` takes
up where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from functools import partial

import structlog
from msgspec.structs import replace

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.model.cell import MARGIN, Announcement, Cell
from controller.model.names import CellName
from controller.pods import bought, disk_usage, lifecycle
from controller.pods.claiming import CLAIM_AGAIN, Claiming
from controller.pods.container_start import PodContainers
from controller.pods.file_transfer import held, mount_all, put_folders
from controller.pods.pod_adoption import OWNER, carried
from controller.pods.prober import probing
from controller.pods.run import PodRecord, PodRun
from controller.pods.stopping import grace_left
from controller.pods.surroundings import Surroundings
from controller.pods.translate import empty_folders, sandbox_config, volumes_folder
from controller.sandboxes import told
from controller.sandboxes.cell_calls import is_over
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.container_lifecycle import shortened
from controller.sandboxes.interruption import sentence
from controller.sandboxes.owned import heed_cancellation
from controller.sandboxes.records import SandboxRecord
from controller.sandboxes.reducer import INTERRUPTED
from controller.sandboxes.sandbox_lifecycle import claim_of

log = structlog.get_logger()

# News wake a worker at once; this finds what was missed.
POLL = 10.0


class _Lost(Exception):
    """The cell will not come back; its text says why."""


class _Taken(Exception):
    """The cell's instance will be taken: the pod is to end on it."""


class Worker:
    """Runs one pod. `forced` is set where nobody waits for a cell that does not answer; `over` is called when its cells
    were given back since it is over by itself.
    """

    def __init__(self, uid: str, around: Surroundings, forced: asyncio.Event, over: Callable[[], None]) -> None:
        self.uid = uid
        self._around = around
        self._over = over
        self._give_back = partial(around.room.sandboxes.give_back, uid, forced=forced)
        self._wake = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost_why = ""
        self._taken = asyncio.Event()
        self._said: set[str] = set()
        self._claiming = Claiming(uid, around)

    @property
    def record(self) -> PodRecord:
        """The pod as it is written down."""
        record = self._around.records.get(self.uid)
        if record is None:
            raise KeyError(self.uid)
        return record

    def changed(self) -> None:
        """The pod was changed, or something on its cell: what is to be done is looked at anew."""
        sandbox = self._known_sandbox()
        if sandbox is not None and sandbox.interrupted:
            self._taken.set()
        self._wake.set()

    def cell_lost(self, cell: CellName, why: str) -> None:
        """The fleet has given up on a cell; it concerns this pod if it is its own."""
        if self.record.run.cell == cell:
            self._lost_why = why
            self._lost.set()

    def cell_late(self, why: str) -> None:
        """The pod's cell was refused, or is being launched for longer than it should take; it goes on being tried."""
        self._around.recorder.warning(self.record.shown, "FailedScheduling", why)

    def launched(self, cell: Cell) -> None:
        """A cell of this pod has its instance: said once, with what it costs."""
        reason, message = bought.launched(cell)
        if message and message not in self._said:
            self._said.add(message)
            self._around.recorder.once(self.record.shown, reason, message)

    def announced(self, cell: Cell) -> None:
        """The cloud said what will happen to a cell's instance; it concerns this pod if it is its own."""
        known = cell.announced
        if known is None or self.record.run.cell != cell.name or self.record.run.phase:
            return
        words = sentence(cell, known)
        if words not in self._said:
            self._said.add(words)
            self._around.recorder.warning(self.record.shown, bought.announced(known), words)
        if known.ending_since and self._known_sandbox() is None:
            self._taken.set()  # one that has a sandbox is told with that, for its containers to say why they end

    async def run(self) -> None:
        """Run the pod to its own end; a fault that nothing below answers delays this pod, and no other."""
        await self._around.supervisor.persist("pod", self.uid, self._run, self._failed)

    def _failed(self, said: str) -> None:
        self._around.recorder.warning(self.record.shown, "FailedSync", said)

    async def _run(self) -> None:
        while not self.record.run.phase:
            if (why := self.record.unreadable) is not None:
                raise Fault(why.kind, why.thing, why.cause, why.mend)
            cell = await self._claim()
            why, finish = "", None
            try:
                finish = await self._on_cell(cell)
            except* _Lost as group:
                why = str(group.exceptions[0])
            except* _Taken:
                log.info("the instance of a pod will be taken", pod=self.uid, cell=cell)
            heed_cancellation()
            if finish is not None:
                await self._finish(cell, finish)
            elif why:
                await self._cell_is_lost(cell, why)
            else:
                await self._cell_is_taken(cell)
        if not self.record.run.released:
            await self._give_back("the pod is over")
            await self._set(lambda run: replace(run, released=True))
            self._over()

    async def _claim(self) -> CellName:
        if (run := self.record.run).attempt and not run.cell:
            # What comes after an attempt is written down before its cell is given back: that may have been cut off.
            await self._give_back(f"superseded by attempt {run.attempt} of its pod", before=run.attempt)
        return await self._claiming.claim()

    async def _on_cell(self, cell: CellName) -> lifecycle.Finish:
        """Run the pod on this cell to its end. Raises a group with _Lost or _Taken in it."""
        containers = self._containers(cell)
        self._lost.clear()
        self._taken.clear()
        if (known := self._around.cells.get(cell)) is not None:
            self.announced(known)
        self.changed()
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._watch_loss()), group.create_task(self._watch_taking())]
            if self._known_sandbox() is None:
                beside.append(group.create_task(containers.pull_early()))
            await self._sandbox(cell, containers)
            await mount_all(self.record, containers.there, self._around.library.lookup, self._around.recorder)
            await containers.delivery.deliver()
            beside.append(group.create_task(containers.delivery.keep()))
            probes = probing(self.record, self._around, containers.hand)
            beside.extend(group.create_task(probe) for probe in probes)
            if disk_usage.limited(self.record):
                beside.append(group.create_task(self._watch_storage(containers.there)))
            finish = await self._converge(cell, containers)
            for task in beside:
                task.cancel()
        return finish

    async def _watch_loss(self) -> None:
        await self._lost.wait()
        raise _Lost(self._lost_why)

    async def _watch_storage(self, there: OneCell) -> None:
        """Have the pod end once it holds more of the cell's disk than it may."""
        while not self.record.run.evicted:
            await asyncio.sleep(disk_usage.EVERY)
            record, run = self.record, self.record.run
            own = {one.id: name for name, one in run.containers.items() if one.id}
            try:
                found = await held(there, run.sandbox, own, disk_usage.folders(record))
            except Fault as fault:
                log.info("what a pod holds is not known just now", pod=self.uid, cause=str(fault))
                continue
            if why := disk_usage.excess(record, found):
                self._around.recorder.warning(record.shown, disk_usage.EVICTED, why)
                await self._set(lambda run, why=why: replace(run, evicted=why))
                self._wake.set()

    async def _watch_taking(self) -> None:
        await self._taken.wait()
        raise _Taken

    def _known_sandbox(self) -> SandboxRecord | None:
        return self._around.room.memory.sandbox_of_pod(self.uid, self.record.run.attempt)

    def _require(self, cell: CellName) -> None:
        """Raises _Lost where the pod cannot go on on this cell."""
        known, sandbox = self._around.cells.get(cell), self._known_sandbox()
        if is_over(known):
            raise _Lost(known.reason if known is not None and known.reason else "it is gone")
        ready = sandbox is None or cri.PodSandboxStatus.FromString(sandbox.status).state == cri.SANDBOX_READY
        if not ready and sandbox is not None and not sandbox.interrupted:
            raise _Lost("the pod's sandbox on it has ended")

    async def _sandbox(self, cell: CellName, containers: PodContainers) -> None:
        """The pod's sandbox on this cell, made once, with its folders."""
        record = self.record
        while True:
            self._require(cell)
            try:
                sandbox = self._known_sandbox() or await self._make(cell, record)
                await containers.there.connect()  # who sees the pod run may ask its cell for something
                if sandbox.id != record.run.sandbox and (folders := empty_folders(record.pod.spec)):
                    await put_folders(containers.there, volumes_folder(self.uid), folders)
                break
            except Fault as fault:
                self._around.recorder.warning(record.shown, "FailedCreatePodSandBox", str(fault))
            await asyncio.sleep(CLAIM_AGAIN)
        addresses = told.addresses(cri.PodSandboxStatus.FromString(sandbox.status))
        if record.pod.spec.hostNetwork and not addresses:
            addresses = (record.run.cell_address,)
        await self._set(lambda run: replace(run, sandbox=sandbox.id, addresses=addresses))
        await containers.adopt()

    async def _make(self, cell: CellName, record: PodRecord) -> SandboxRecord:
        config = sandbox_config(record.pod, record.run, self._around.identity.domain)
        known = self._around.cells.get(cell)
        claim = known.claim if known is not None else None
        claim = claim or claim_of(config, self._around.demand(record.pod.spec), OWNER)
        return await self._around.room.sandboxes.make(
            cell, claim, config, config, carried=carried(record.shown, record.run)
        )

    async def _converge(self, cell: CellName, containers: PodContainers) -> lifecycle.Finish:
        while True:
            self._wake.clear()
            await self._refresh(containers)
            await containers.renew()
            self._require(cell)
            spec = self.record.pod.spec
            now, whose = self._around.now(), containers.whose()
            before = self.record.run
            run = await self._set(lambda run, now=now, whose=whose: lifecycle.settled(spec, run, now, whose))
            containers.tell_backoffs(before, run)
            for action in lifecycle.decide(spec, run, now, self._around.images.patience):
                match action:
                    case lifecycle.Start(name):
                        await containers.start(name)
                        self._wake.set()
                    case lifecycle.Wait(until):
                        pause = POLL if until is None else min(max(until - now, 0.0), POLL)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(pause):
                                await self._wake.wait()
                    case lifecycle.Finish():
                        return action

    def _containers(self, cell: CellName) -> PodContainers:
        return PodContainers(self.uid, cell, self._around)

    async def _refresh(self, containers: PodContainers) -> None:
        for container, _ in lifecycle.containers_of(self.record.pod.spec):
            await containers.refresh(container.name)

    async def _cell_is_lost(self, cell: CellName, why: str) -> None:
        now, attempt = self._around.now(), self.record.run.attempt
        self._around.recorder.warning(self.record.shown, "CellLost", f"cell {cell}: {why}")
        await self._set(lambda run: lifecycle.lost(self.record.pod.spec, run, why, now))
        await self._give_back("lost", before=attempt + 1)

    async def _cell_is_taken(self, cell: CellName) -> None:
        """End the pod within what is left of its instance; its next cell is launched meanwhile."""
        spec, known, attempt = self.record.pod.spec, self._around.cells.get(cell), self.record.run.attempt
        said = known.announced if known is not None else None
        why = sentence(known, said) if known is not None and said is not None else "it was taken"
        async with asyncio.TaskGroup() as tasks:
            ahead = [tasks.create_task(self._claiming.claim_ahead())] if lifecycle.runs_anew(spec) else []
            if said is not None:
                await self._wind_down(cell, said)
            for task in ahead:
                task.cancel()  # the cell keeps coming: it is claimed below as any other
        now = self._around.now()
        await self._set(lambda run: lifecycle.lost(spec, run, why, now, INTERRUPTED))
        if not self.record.run.phase:
            await self._around.cells.release(cell, why)
            await self._give_back(why, before=attempt + 1)

    async def _wind_down(self, cell: CellName, known: Announcement) -> None:
        own = grace_left(float(lifecycle.grace_of(self.record.pod.spec)))
        left = known.over_by + MARGIN - self._around.now()
        sandbox = self._known_sandbox()

        def grace() -> float:
            return shortened(own(), known, self._around.now())

        try:
            async with asyncio.timeout(left if math.isfinite(left) else None):
                await self._containers(cell).stop_all(grace)
                if sandbox is not None:
                    await self._around.room.following.logs_complete(sandbox.id)
        except TimeoutError:
            log.warning("a pod was not ended whole before its instance", pod=self.uid)

    async def _finish(self, cell: CellName, finish: lifecycle.Finish) -> None:
        """The pod is over by itself: stop what is left of it, write its end, keep its logs, give the cell back."""
        wanted = float(lifecycle.grace_of(self.record.pod.spec))
        grace = min(wanted, disk_usage.GRACE) if finish.reason == disk_usage.EVICTED else wanted
        await self._containers(cell).stop_all(grace_left(grace))
        await self._set(lambda run: replace(run, phase=finish.phase, reason=finish.reason, message=finish.message))

    async def until_let_go(self) -> None:
        """What has ended stays to be seen as long as somebody's finalizer keeps it."""
        while self.record.pod.metadata.finalizers:
            self._wake.clear()
            spec = self.record.pod.spec
            await self._set(lambda run: run if run.phase else replace(run, phase=lifecycle.last_phase(spec, run)))
            if self.record.pod.metadata.finalizers:
                await self._wake.wait()

    async def _set(self, change: Callable[[PodRun], PodRun]) -> PodRun:
        return await self._around.records.run(self.uid, change)
