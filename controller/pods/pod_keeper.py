"""The keeper of pods: each is created, changed and deleted here, and has a worker that runs it in between.

A deletion is here from its date to the last of the pod: the moment by which it is to be over is written down, what runs
the pod is cancelled, its containers are stopped by then, its cells are given back, and it is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from controller.model.cell import Cell
from controller.model.names import CellName
from controller.model.transitions import LIVE
from controller.objects.collection import Objects
from controller.objects.fields import Json, copied
from controller.objects.stored import Change, Ending, absent, kept_by
from controller.objects.timestamps import timestamp
from controller.pods.container_start import PodContainers
from controller.pods.defaults import GRACE_SECONDS
from controller.pods.kind import PODS
from controller.pods.pod_adoption import OWNER
from controller.pods.surroundings import Surroundings
from controller.pods.worker import Worker

log = structlog.get_logger()
# Beyond the grace, until the cell has said that all is stopped.
LEEWAY = 10.0

StopAll = Callable[[Callable[[], float]], Coroutine[Any, Any, None]]
"""Stops the containers within the grace that is left whenever it is asked for."""


@dataclass(frozen=True, slots=True)
class _Kept:
    worker: Worker
    deletion: PodDeletion


class PodKeeper:
    """All pods, see `objects.stored.Keeper`. `forget` is told of each that is no more."""

    def __init__(
        self, around: Surroundings, objects: Objects, tasks: asyncio.TaskGroup, forget: Callable[[str], None]
    ) -> None:
        self.objects = objects
        self._around = around
        self._tasks = tasks
        self._forget = forget
        self._kept: dict[str, _Kept] = {}
        self._begun: set[asyncio.Task[None]] = set()
        self._claimed: dict[str, set[CellName]] = {}
        """The cells that were claimed for each pod while it had a record, until it ends."""
        self._left: set[CellName] = set()
        """Cells of no pod that are being given back."""

    async def create(self, new: Json) -> Json:
        """Begin to run an admitted pod."""
        created = await self._around.records.create(new)
        self.work_on(created["metadata"]["uid"])
        return created

    async def change(self, namespace: str, name: str, change: Change) -> Json:
        """Change a pod, and have its worker see it. Raises Fault NOT_FOUND, and what `change` raises."""
        with _gone(name):
            uid = self._uid(namespace, name)
            shown = await self._around.records.change(uid, lambda shown: change(copied(shown)))
        if worker := self.worker(uid):
            worker.changed()
        return shown

    async def end(self, namespace: str, name: str, ending: Ending) -> Json:
        """Ask for the end of a pod. A second call may only shorten its grace."""
        now = self._around.now()
        with _gone(name):
            uid = self._uid(namespace, name)
            shown = await self._around.records.change(uid, lambda shown: dated(shown, ending, now))
            left = shown["metadata"]["deletionGracePeriodSeconds"]
            self._kept[uid].deletion.request(left, forced=left == 0)
        return shown

    def _uid(self, namespace: str, name: str) -> str:
        pod = self.objects.get(namespace, name)
        if pod is None:
            raise KeyError(name)
        return pod["metadata"]["uid"]

    def work_on(self, uid: str) -> None:
        """Run a pod, new or of an earlier life, until it is deleted and gone."""
        deletion = PodDeletion()
        worker = Worker(uid, self._around, deletion.forced, over=partial(self._release_late, uid))
        kept = self._kept[uid] = _Kept(worker, deletion)
        record = self._around.records.get(uid)
        if record and record.shown["metadata"].get("deletionTimestamp"):
            left, forced = asked_before(record.shown["metadata"], self._around.now())
            deletion.request(left, forced=forced)
        self._begin(self._work(uid, kept), f"pod {uid}")

    def stop(self) -> None:
        """End all tasks; pods run on without us."""
        for task in self._begun:
            task.cancel()

    def worker(self, uid: str) -> Worker | None:
        """Whose the pod is, while there is the pod."""
        kept = self._kept.get(uid)
        return kept.worker if kept is not None and self._around.records.get(uid) is not None else None

    def workers(self) -> Sequence[Worker]:
        """Those of all pods that there are."""
        return [worker for worker in map(self.worker, tuple(self._kept)) if worker is not None]

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._tasks.create_task(work, name=name)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _work(self, uid: str, kept: _Kept) -> None:
        try:
            await self._around.supervisor.persist("life of pod", uid, partial(self._live, uid, kept))
            self._release_late(uid)
        finally:
            self._claimed.pop(uid, None)
            self._kept.pop(uid, None)
            self._forget(uid)

    async def _live(self, uid: str, kept: _Kept) -> None:
        """Run the pod until it is deleted and gone."""
        persist = self._around.supervisor.persist
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(kept.worker.run())
            await kept.deletion.requested()
            running.cancel()
            await asyncio.wait({running})
            # Whatever goes wrong, its cells are given back before it is forgotten.
            await persist("end of pod", uid, partial(self._end, uid, kept))
        await persist("finalizers of pod", uid, kept.worker.until_let_go)
        await self._around.records.remove(uid)
        self._around.logs.forget(uid)

    async def _end(self, uid: str, kept: _Kept) -> None:
        """The pod was deleted: stop its containers in time, and give its cells back."""
        run, sandboxes = kept.worker.record.run, self._around.room.sandboxes
        if run.cell and not run.released and not run.phase:
            await kept.deletion.stopped(
                lambda grace: PodContainers(uid, run.cell, self._around).stop_all(grace),
                partial(sandboxes.leeway, run.cell),
            )
        await sandboxes.give_back(uid, "the pod was deleted", kept.deletion.forced)

    def release_if_left(self, cell: Cell) -> None:
        """Give back a cell whose pod is over or gone: a claim is written down though its pod was deleted meanwhile."""
        if cell.claim is None or cell.claim.by != OWNER or cell.state not in LIVE or cell.name in self._left:
            return
        record = self._around.records.get(cell.claim.pod.uid)
        if record is None or record.run.released:
            self._left.add(cell.name)
            log.info("a cell was claimed for a pod that is no more", cell=cell.name, pod=cell.claim.pod.name)
            self._begin(self._release(cell.name), f"release of {cell.name}")
        else:
            self._claimed.setdefault(cell.claim.pod.uid, set()).add(cell.name)

    def _release_late(self, uid: str) -> None:
        """Look again at the cells of a pod that is over or gone by now: one may have been claimed for it after it had
        given back its cells, and before that was written down.
        """
        for cell in filter(None, map(self._around.cells.get, tuple(self._claimed.get(uid, ())))):
            self.release_if_left(cell)

    async def _release(self, cell: CellName) -> None:
        try:
            await self._around.supervisor.persist(
                "release of a cell", cell, lambda: self._around.cells.release(cell, "its pod is no more")
            )
        finally:
            self._left.discard(cell)


class PodDeletion:
    """The requests to delete one pod, by a clock that nobody sets: a grace lasts no longer than it was asked for."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._by = 0.0
        self._hurried = asyncio.Event()
        self.forced = asyncio.Event()
        """Set where nobody waits for a cell that does not answer."""

    def request(self, grace: float, *, forced: bool) -> None:
        """The pod is to be over in so many seconds."""
        by = time.monotonic() + grace
        if forced:
            self.forced.set()
        # Who asks again may shorten the grace, and begins no other.
        if forced or not self._asked.is_set() or by < self._by:
            self._by = by
            self._hurried.set()
        self._asked.set()

    async def requested(self) -> None:
        """Wait for the first request."""
        await self._asked.wait()

    async def stopped(self, stop_all: StopAll, forced_leeway: Callable[[], float]) -> None:
        """Stop the pod; a second deletion with less grace stops it sooner; a cell that is not there is no matter.

        `forced_leeway` is how long beyond the grace a forced deletion waits.
        """
        while True:
            self._hurried.clear()
            by = self._by
            leeway = forced_leeway() if self.forced.is_set() else LEEWAY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(by - time.monotonic(), 0.0) + leeway):
                    if await self._ended(stop_all):
                        return
            if self._by == by:
                return

    async def _ended(self, stop_all: StopAll) -> bool:
        """True once all is stopped, False where the grace was shortened meanwhile."""
        stopping = stop_all(lambda: max(self._by - time.monotonic(), 0.0))
        async with asyncio.TaskGroup() as tasks:
            stop = tasks.create_task(stopping)
            woken = tasks.create_task(self._hurried.wait())
            await asyncio.wait({stop, woken}, return_when=asyncio.FIRST_COMPLETED)
            done = stop.done()
            stop.cancel()
            woken.cancel()
        return done


def dated(pod: Json, ending: Ending, now: float) -> Json:
    """The pod with the moment by which it is to be over, which may only come nearer. Raises Fault. Pure."""
    ending.still(pod)
    own = int(pod["spec"].get("terminationGracePeriodSeconds", GRACE_SECONDS))
    grace = own if ending.grace is None else ending.grace
    metadata: Json = pod["metadata"]
    if metadata.get("deletionGracePeriodSeconds", grace + 1) <= grace:
        return pod
    kept = kept_by(metadata, ending)
    metadata = {name: value for name, value in metadata.items() if name != "finalizers"}
    metadata |= {
        "deletionTimestamp": timestamp(over_by(metadata, now + grace)),
        "deletionGracePeriodSeconds": grace,
    }
    metadata |= {"finalizers": kept} if kept else {}
    return {**pod, "metadata": metadata}


def over_by(metadata: Mapping[str, Any], wanted: float) -> float:
    """The moment by which a pod is written down to be over: a second wish may only bring it forward. Pure."""
    before = metadata.get("deletionTimestamp")
    return min(wanted, datetime.fromisoformat(before).timestamp()) if before else wanted


def asked_before(metadata: Mapping[str, Any], now: float) -> tuple[float, bool]:
    """The seconds of grace that are left of a deletion as it is written down, and whether it is by force. Pure.

    Where the clock was ahead when it was asked for, its moment is far off: the grace is not longer for that.
    """
    by = datetime.fromisoformat(metadata["deletionTimestamp"])
    grace = metadata.get("deletionGracePeriodSeconds", GRACE_SECONDS)
    return min(by.timestamp() - now, grace), grace == 0


@contextlib.contextmanager
def _gone(name: str) -> Generator[None]:
    try:
        yield
    except KeyError:
        raise absent(PODS, name) from None
