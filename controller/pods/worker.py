"""The life of one pod: a cell for it, its sandbox and containers there, its end.

What to do next is decided by `lifecycle`; this does it, one step at a time, and is cancelled by the wish to delete the
pod. Nothing here is lost with the controller: each step is written down first, and `live` takes up where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from msgspec.structs import replace

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.choice.wishes import PREFIX
from controller.clouds.protocol import LoginOf
from controller.fleet.cells import Cells
from controller.model.cell import MARGIN, Announcement, Cell
from controller.model.names import CellName
from controller.model.offer import Demand
from controller.model.pod import PodClaim
from controller.objects.fields import Json
from controller.objects.library import Library
from controller.pods import bought, interruption, lifecycle, storage
from controller.pods.adoption import CARRIED, carried
from controller.pods.claim import claim_of
from controller.pods.claims import places
from controller.pods.containers import Containers
from controller.pods.cri import CellLost, CellRuntime
from controller.pods.delivery import Delivery, Identity
from controller.pods.events import Recorder
from controller.pods.logs import Logs
from controller.pods.prober import probing
from controller.pods.records import Records
from controller.pods.run import PodRecord, PodRun
from controller.pods.translate import empty_folders, sandbox_config, volumes_folder
from controller.sandboxes import ending
from controller.sandboxes.owned import heed_cancellation
from controller.sandboxes.ways import Ways
from controller.store.protocol import Store

log = structlog.get_logger()

# Events tell of changes at once; this finds those that were missed.
POLL = 10.0
CLAIM_AGAIN, CLAIM_AGAIN_AT_MOST = 5.0, 60.0
# How long a cell is kept for the rest of a log after its pod ended.
LOGS_WITHIN = 60.0


async def _nobody_says(_: Sequence[str]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Images:
    """What can be known of images before a cell has them: for which processors all of them are built (empty: unknown),
    and the credentials for a registry of the cloud's own. `patience` is how long, in seconds, a cell is kept for a pod
    of which an image cannot be pulled; 0 is for ever.
    """

    architectures: Callable[[Sequence[str]], Awaitable[tuple[str, ...]]] = _nobody_says
    login: LoginOf | None = None
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every worker needs of the rest."""

    cells: Cells
    store: Store
    records: Records
    recorder: Recorder
    logs: Logs
    ways: Ways
    demand: Callable[[Mapping[str, Any]], Demand]
    images: Images
    library: Library
    identity: Identity
    now: Callable[[], float]


class _Taken(Exception):
    """The cell's instance will be taken: the pod is to end on it."""


class Worker:
    """Runs one pod."""

    def __init__(self, uid: str, around: Surroundings) -> None:
        self.uid = uid
        self._around = around
        self._wake = asyncio.Event()
        self._deleted = asyncio.Event()
        self._delete_by = 0.0
        self._lost = asyncio.Event()
        self._lost_why = ""
        self._taken = asyncio.Event()
        self._said: set[str] = set()
        self._copies: dict[str, asyncio.Task[None]] = {}

    @property
    def record(self) -> PodRecord:
        """The pod as it is written down."""
        record = self._around.records.get(self.uid)
        if record is None:
            raise KeyError(self.uid)
        return record

    def delete(self, by: float) -> None:
        """The pod is to be over by this moment."""
        self._delete_by = by
        self._deleted.set()
        self._wake.set()

    def changed(self) -> None:
        """The pod was changed: what it is to be is looked at anew."""
        self._wake.set()

    def cell_lost(self, cell: CellName, why: str) -> None:
        """The fleet has given up on a cell; it concerns this pod if it is its own."""
        if self.record.run.cell == cell:
            self._lost_why = why
            self._lost.set()

    def cell_late(self, why: str) -> None:
        """The pod's cell is being launched for longer than it should take; it goes on being tried."""
        self._around.recorder.warning(self.record.pod, "FailedScheduling", why)

    def launched(self, cell: Cell) -> None:
        """A cell of this pod has its instance: said once, with what it costs."""
        reason, message = bought.launched(cell)
        if message and message not in self._said:
            self._said.add(message)
            self._around.recorder.once(self.record.pod, reason, message)

    def announced(self, cell: Cell) -> None:
        """The cloud said what will happen to a cell's instance; it concerns this pod if it is its own."""
        known = cell.announced
        if known is None or self.record.run.cell != cell.name or self.record.run.phase:
            return
        words = ending.sentence(cell, known)
        if words not in self._said:
            self._said.add(words)
            self._around.recorder.warning(self.record.pod, interruption.reason(known), words)
        if known.ending_since:
            self._taken.set()

    async def live(self) -> None:
        """Run the pod until it is deleted and gone."""
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self._run_guarded(tasks))
            await self._deleted.wait()
            running.cancel()
            await asyncio.wait({running})
            await self._end_guarded()
            for copy in self._copies.values():
                copy.cancel()
        await self._around.records.remove(self.uid)
        self._around.logs.forget(self.uid)

    async def _run_guarded(self, tasks: asyncio.TaskGroup) -> None:
        """Run the pod; a fault that nothing below answers delays this pod, and no other."""
        await self._around.ways.supervisor.persist("pod", self.uid, partial(self._run, tasks), self._failed)

    def _failed(self, said: str) -> None:
        self._around.recorder.warning(self.record.pod, "FailedSync", said)

    async def _run(self, tasks: asyncio.TaskGroup) -> None:
        while not self.record.run.phase:
            cell = await self._claim()
            why, finish = "", None
            try:
                finish = await self._on_cell(cell, tasks)
            except* CellLost as group:
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
            await self._release(self.record.run.cell, "the pod is over")

    async def _claim(self) -> CellName:
        """A cell for this attempt; waits for it, and says why where it takes long."""
        again = CLAIM_AGAIN
        while not self.record.run.cell:
            pod, run = self.record.pod, self.record.run
            if run.attempt:
                # What comes after an attempt is written down before its cell is given back: that may have been cut off.
                await self._give_back(f"superseded by attempt {run.attempt} of its pod", before=run.attempt)
            try:
                cell = await self._around.cells.claim(await self._claim_of(pod, run))
            except Fault as fault:
                self._around.recorder.warning(pod, "FailedScheduling", str(fault))
                await self._set(lambda run, why=str(fault): replace(run, unschedulable=why))
                await asyncio.sleep(again)
                again = min(again * 2, CLAIM_AGAIN_AT_MOST)
                continue
            now = self._around.now()
            await self._set(
                lambda run, cell=cell, now=now: replace(
                    run,
                    cell=cell.name,
                    cell_address=cell.address,
                    shown=bought.shown(cell),
                    started_at=run.started_at or now,
                    unschedulable="",
                )
            )
            self._around.recorder.normal(self.record.pod, "Scheduled", bought.assigned(self.record.pod, cell))
        return self.record.run.cell

    async def _claim_of(self, pod: Json, run: PodRun) -> PodClaim:
        places(pod, self._around.library.lookup)  # what waits for a volume has no cell meanwhile
        annotations: dict[str, str] = pod["metadata"].get("annotations") or {}
        demand = self._around.demand(pod["spec"])
        if not demand.architectures and f"{PREFIX}architecture" not in annotations:
            images = [container["image"] for container, _ in lifecycle.containers_of(pod["spec"])]
            demand = replace(demand, architectures=await self._around.images.architectures(images))
        return claim_of(pod, run.attempt, demand)

    async def _on_cell(self, cell: CellName, tasks: asyncio.TaskGroup) -> lifecycle.Finish:
        """Run the pod on this cell to its end. Raises a group with CellLost in it."""
        runtime = CellRuntime(self._around.cells, cell, self._around.images.login)
        containers = self._containers(runtime)
        self._lost.clear()
        self._taken.clear()
        if (known := self._around.cells.get(cell)) is not None:
            self.announced(known)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._watch_loss()), group.create_task(self._watch_taking())]
            if not self.record.run.sandbox:
                beside.append(group.create_task(containers.pull_early()))
            await self._sandbox(runtime, containers)
            await containers.delivery.deliver()
            beside.append(group.create_task(containers.delivery.keep()))
            for container, _ in lifecycle.containers_of(self.record.pod["spec"]):
                self._mirror(runtime, container["name"], tasks)
            beside.append(group.create_task(runtime.observe(self.record.run.sandbox, self._wake.set)))
            probes = probing(self.record, self._around.records, self._around.recorder, runtime, self._around.now)
            beside.extend(group.create_task(probe) for probe in probes)
            if storage.limited(self.record.pod["spec"]):
                beside.append(group.create_task(self._watch_storage(runtime)))
            finish = await self._converge(runtime, containers, tasks)
            for task in beside:
                task.cancel()
        return finish

    async def _watch_loss(self) -> None:
        await self._lost.wait()
        raise CellLost(self._lost_why)

    async def _watch_storage(self, runtime: CellRuntime) -> None:
        """Have the pod end once it holds more of the cell's disk than it may."""
        while not self.record.run.evicted:
            await asyncio.sleep(storage.EVERY)
            pod, run = self.record.pod, self.record.run
            own = {one.id: name for name, one in run.containers.items() if one.id}
            try:
                held = await runtime.held(run.sandbox, own, storage.folders(pod))
            except Fault as fault:
                log.info("what a pod holds is not known just now", pod=self.uid, cause=str(fault))
                continue
            if why := storage.excess(pod, held):
                self._around.recorder.warning(pod, storage.EVICTED, why)
                await self._set(lambda run, why=why: replace(run, evicted=why))
                self._wake.set()

    async def _watch_taking(self) -> None:
        await self._taken.wait()
        raise _Taken

    def _sandbox_config(self, record: PodRecord) -> cri.PodSandboxConfig:
        return sandbox_config(record.pod, record.run, self._around.identity.domain)

    async def _sandbox(self, runtime: CellRuntime, containers: Containers) -> None:
        """The pod's sandbox on this cell, made once, with its folders."""
        record = self.record
        while True:
            try:
                sandbox, _ = await runtime.sandbox(self._sandbox_config(record))
                if sandbox != record.run.sandbox and (folders := empty_folders(record.pod["spec"])):
                    await runtime.put_folders(volumes_folder(self.uid), folders)
                break
            except Fault as fault:
                self._around.recorder.warning(record.pod, "FailedCreatePodSandBox", str(fault))
            await asyncio.sleep(CLAIM_AGAIN)
        addresses = await runtime.addresses(sandbox)
        if record.pod["spec"].get("hostNetwork") and not addresses:
            addresses = (record.run.cell_address,)
        await self._set(lambda run: replace(run, sandbox=sandbox, addresses=addresses))
        await self._carry(runtime)
        await containers.adopt()

    async def _carry(self, runtime: CellRuntime) -> None:
        """Have the cell carry the pod: without that it would be lost with the store, and nothing else."""
        record, cell = self.record, self._around.cells.get(runtime.name)
        if cell is None or cell.claim is None:
            return
        try:
            told = carried(cell.claim, record.pod, record.run)
            await self._around.ways.carrier.put(runtime.there, CARRIED, told)
        except Fault as fault:
            log.warning("a cell does not carry its pod", pod=self.uid, cell=cell.name, cause=str(fault))

    async def _converge(
        self, runtime: CellRuntime, containers: Containers, tasks: asyncio.TaskGroup
    ) -> lifecycle.Finish:
        while True:
            self._wake.clear()
            await self._refresh(containers)
            await containers.renew()
            spec = self.record.pod["spec"]
            now, whose = self._around.now(), containers.whose()
            run = await self._set(lambda run, now=now, whose=whose: lifecycle.settled(spec, run, now, whose))
            for action in lifecycle.decide(spec, run, now, self._around.images.patience):
                match action:
                    case lifecycle.Start(name):
                        await containers.start(name)
                        self._mirror(runtime, name, tasks)
                        self._wake.set()
                    case lifecycle.Wait(until):
                        pause = POLL if until is None else min(max(until - now, 0.0), POLL)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(pause):
                                await self._wake.wait()
                    case lifecycle.Finish():
                        return action

    def _containers(self, runtime: CellRuntime) -> Containers:
        around = self._around
        delivery = Delivery(self.uid, runtime, around.records, around.recorder, around.library, around.identity)
        return Containers(self.uid, runtime, around.records, around.recorder, around.logs, delivery, around.now)

    async def _refresh(self, containers: Containers) -> None:
        for container, _ in lifecycle.containers_of(self.record.pod["spec"]):
            await containers.refresh(container["name"])

    def _mirror(self, runtime: CellRuntime, name: str, tasks: asyncio.TaskGroup) -> None:
        """Have the log of a container copied, unless it is already."""
        one = self.record.run.of(name)
        if one.id and one.id not in self._copies:
            path = self._around.logs.path(self.uid, name, one.starts - 1)
            self._copies[one.id] = tasks.create_task(self._copy(runtime, one.id, path, name))

    async def _copy(self, runtime: CellRuntime, container: str, path: Any, name: str) -> None:
        async def copied() -> None:
            try:
                await self._around.logs.copy(runtime.connect, container, path)
            except CellLost as lost:
                log.info("a log ends where its cell was lost", container=container, cause=str(lost))

        def told(said: str) -> None:
            self._around.recorder.warning(self.record.pod, "LogsIncomplete", f"log of container {name}: {said}", name)

        try:
            await self._around.ways.supervisor.keep("log copy", container, copied, told)
        except Fault as fault:
            told(str(fault))

    async def _cell_is_lost(self, cell: CellName, why: str) -> None:
        now = self._around.now()
        self._around.recorder.warning(self.record.pod, "CellLost", f"cell {cell}: {why}")
        await self._set(lambda run: lifecycle.lost(self.record.pod["spec"], run, why, now))
        for copy in self._copies.values():
            copy.cancel()
        self._copies.clear()
        await self._around.cells.release(cell, "lost")

    async def _cell_is_taken(self, cell: CellName) -> None:
        """End the pod within what is left of its instance; its next cell is launched meanwhile."""
        spec, known = self.record.pod["spec"], self._around.cells.get(cell)
        said = known.announced if known is not None else None
        why = ending.sentence(known, said) if known is not None and said is not None else "it was taken"
        async with asyncio.TaskGroup() as tasks:
            ahead = [tasks.create_task(self._claim_ahead())] if lifecycle.runs_anew(spec) else []
            if said is not None:
                await self._wind_down(CellRuntime(self._around.cells, cell), said)
            for task in ahead:
                task.cancel()  # the cell keeps coming: it is claimed below as any other
        since, now = said.ending_since if said is not None else 0.0, self._around.now()
        await self._set(lambda run: interruption.interrupted(spec, run, why, since, now))
        for copy in self._copies.values():
            copy.cancel()
        self._copies.clear()
        if not self.record.run.phase:
            await self._around.cells.release(cell, why)

    async def _claim_ahead(self) -> None:
        """Ask for the cell of the next attempt, so that it is there when this one has ended."""
        pod, run = self.record.pod, self.record.run
        with contextlib.suppress(Fault):  # it is told when the pod itself waits for it
            await self._around.cells.claim(await self._claim_of(pod, replace(run, attempt=run.attempt + 1)))

    async def _wind_down(self, runtime: CellRuntime, known: Announcement) -> None:
        wanted = float(self.record.pod["spec"]["terminationGracePeriodSeconds"])
        left = known.over_by + MARGIN - self._around.now()
        try:
            async with asyncio.timeout(left if math.isfinite(left) else wanted + LOGS_WITHIN):
                await self._containers(runtime).stop_all(lambda: ending.within(known, wanted, self._around.now()))
                await self._logs_complete()
        except* (CellLost, Fault, TimeoutError) as group:
            log.warning("a pod was not ended whole before its instance", pod=self.uid, cause=str(group.exceptions[0]))
        heed_cancellation()

    async def _finish(self, cell: CellName, finish: lifecycle.Finish) -> None:
        """The pod is over by itself: stop what is left of it, write its end, keep its logs, give the cell back."""
        wanted = float(self.record.pod["spec"]["terminationGracePeriodSeconds"])
        grace = min(wanted, storage.GRACE) if finish.reason == storage.EVICTED else wanted
        with contextlib.suppress(CellLost, Fault):
            await self._containers(CellRuntime(self._around.cells, cell)).stop_all(lambda: grace)
        await self._set(lambda run: replace(run, phase=finish.phase, reason=finish.reason, message=finish.message))

    async def _release(self, cell: CellName, why: str) -> None:
        await self._logs_complete()
        await self._around.cells.release(cell, why)
        await self._set(lambda run: replace(run, released=True))

    async def _logs_complete(self) -> None:
        waiting = {copy for copy in self._copies.values() if not copy.done()}
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=LOGS_WITHIN)
            if late:
                said = f"the cell is given back with logs that did not end within {LOGS_WITHIN:.0f} s"
                self._around.recorder.warning(self.record.pod, "LogsIncomplete", said)

    async def _end_guarded(self) -> None:
        """The pod was deleted: whatever goes wrong, its cells are given back before it is forgotten."""
        await self._around.ways.supervisor.persist("end of pod", self.uid, self._end)

    async def _end(self) -> None:
        run = self.record.run
        if run.cell and not run.released:
            if not run.phase:
                await self._stop_within_grace(CellRuntime(self._around.cells, run.cell))
            await self._logs_complete()
            await self._around.cells.release(run.cell, "the pod was deleted")
        await self._give_back("the pod was deleted")

    async def _give_back(self, why: str, before: float = math.inf) -> None:
        """Give back the cells of all attempts before this one."""
        for cell in self._around.cells.list():
            if cell.claim and cell.claim.pod.uid == self.uid and cell.claim.pod.attempt < before:
                await self._around.cells.release(cell.name, why)

    async def _stop_within_grace(self, runtime: CellRuntime) -> None:
        """Stop the pod; a second deletion with less grace stops it sooner; a cell that is not there is no matter."""
        while True:
            self._wake.clear()
            by = self._delete_by
            stopping = asyncio.timeout_at(asyncio.get_running_loop().time() + max(by - self._around.now(), 0.0) + 10.0)
            with contextlib.suppress(TimeoutError, CellLost):
                async with stopping:
                    if await self._stopped(runtime):
                        return
            if self._delete_by == by:
                return

    async def _stopped(self, runtime: CellRuntime) -> bool:
        """True once all is stopped, False where the grace was shortened meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            stop = tasks.create_task(self._stop_quietly(runtime))
            woken = tasks.create_task(self._wake.wait())
            await asyncio.wait({stop, woken}, return_when=asyncio.FIRST_COMPLETED)
            done = stop.done()
            stop.cancel()
            woken.cancel()
        return done

    async def _stop_quietly(self, runtime: CellRuntime) -> None:
        with contextlib.suppress(CellLost):
            await self._containers(runtime).stop_all(lambda: max(self._delete_by - self._around.now(), 0.0))

    async def _set(self, change: Callable[[PodRun], PodRun]) -> PodRun:
        return await self._around.records.run(self.uid, change)
