"""The loop that holds desired cells against actual instances: woken by changes, and a slow full pass beside.

Each cell has at most one action under way. An action that fails is tried again at the next pass; a bug in one cell's
action is told with its traceback and ends nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence

import structlog

from cellwire.faults import Fault
from controller.clouds.protocol import Cloud
from controller.fleet import orphans
from controller.fleet.act import Actor
from controller.fleet.book import Book
from controller.fleet.plan import Action, Do, Limits, Observed, plan
from controller.model.cell import Cell
from controller.model.names import CellName, InstanceId
from controller.model.steps import ImpossibleStep

log = structlog.get_logger()
FULL_PASS = 10.0
# Launches asked for within this time of each other go to the cloud together.
GATHER = 0.02
AGAIN = 2.0


class Reconciler:
    """Plans and has it done."""

    def __init__(self, cloud: Cloud, book: Book, actor: Actor, limits: Limits, tasks: asyncio.TaskGroup) -> None:
        self._cloud = cloud
        self._book = book
        self._actor = actor
        self._limits = limits
        self._tasks = tasks
        self._busy: set[CellName] = set()
        self._observed = Observed(started_at=time.time())
        self._strange: dict[InstanceId, float] = {}
        self._woken = asyncio.Event()
        self._own: list[asyncio.Task[None]] = []
        self._acting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin; the work belongs to the group that was given."""
        for work, name in (
            (self._run(), "reconcile"),
            (self._wake_on_changes(), "wake the reconciler"),
            (self._list_for_ever(), "list instances"),
        ):
            self._own.append(self._tasks.create_task(work, name=name))

    def close(self) -> None:
        """End, whatever is under way: its record says what to do next time."""
        for task in [*self._own, *self._acting]:
            task.cancel()

    async def _run(self) -> None:
        while True:
            self._pass()
            try:
                async with asyncio.timeout(self._limits.lease / 5):
                    await self._woken.wait()
                await asyncio.sleep(GATHER)
            except TimeoutError:
                pass
            self._woken.clear()

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()

    def _pass(self) -> None:
        now = time.time()
        found = [
            action
            for cell in self._book.all()
            if cell.name not in self._busy and (action := plan(cell, self._observed, self._limits, now)) is not None
        ]
        launches = [action.cell for action in found if action.do is Do.LAUNCH]
        endings = [action.cell for action in found if action.do is Do.TERMINATE]
        if launches:
            self._start(launches, self._actor.launch(launches))
        if endings:
            self._start(endings, self._actor.terminate(endings))
        for action in found:
            if action.do is Do.ADOPT and action.instance is not None:
                self._start([action.cell], self._actor.launched(action.cell.name, action.instance))
            elif action.do is Do.LOSE:
                self._start([action.cell], self._lose(action))

    async def _lose(self, action: Action) -> None:
        await self._actor.lose(action)

    def _start(self, cells: Sequence[Cell], work: Coroutine[None, None, None]) -> None:
        names = {cell.name for cell in cells}
        self._busy |= names
        task = self._tasks.create_task(self._guarded(names, work), name=f"act for {len(names)} cells")
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)

    async def _guarded(self, names: set[CellName], work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Fault as fault:
            log.warning("an action failed and is tried again", cells=sorted(names), cause=str(fault))
            await asyncio.sleep(AGAIN)
        except ImpossibleStep as odd:
            log.info("a cell changed while it was acted on", cause=str(odd))
        except Exception:
            log.exception("an action failed by a bug", cells=sorted(names))
            await asyncio.sleep(AGAIN)
        finally:
            self._busy -= names
            self.wake()

    async def _wake_on_changes(self) -> None:
        async for _ in self._book.watch():
            self.wake()

    async def _list_for_ever(self) -> None:
        while True:
            try:
                await self._list()
            except Fault as fault:
                log.warning("instances could not be listed", cause=str(fault))
            await asyncio.sleep(FULL_PASS)

    async def _list(self) -> None:
        # The cloud first, the records after: what was launched meanwhile is in the records and is no stranger.
        asked_at = time.time()
        instances = await self._cloud.instances()
        self._observed = Observed(
            by_id={one.id: one for one in instances},
            by_token={one.client_token: one for one in instances if one.client_token},
            listed_at=asked_at,
            started_at=self._observed.started_at,
        )
        strange = orphans.strangers(instances, self._book.all())
        self._strange, ending = orphans.due(strange, self._strange, self._limits.grace, time.time())
        if ending:
            log.warning("ending instances that belong to no cell", instances=ending)
            await self._cloud.terminate(ending)
        self.wake()
