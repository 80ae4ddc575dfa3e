"""Brings instances in line with cells: a worker for each cell that has something to do, and a slow full pass.

One cell is never worked on by two; different cells never wait for each other. A worker goes on until its cell's plan is
empty, and ends. What fails is tried again later and longer each time; a success makes the waits short again. Records
are changed by the executor; instances are ended here, since the next list of them shows what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from cellwire.faults import Fault
from controller.clouds.protocol import Cloud
from controller.fleet import launch_parameters, plan, rhythm, silence
from controller.fleet.cell_store import CellStore
from controller.fleet.cloud_routes import networks_of, routes
from controller.fleet.executor import Executor
from controller.fleet.notices import Notices
from controller.fleet.orphans import Candidate, sort
from controller.fleet.plan import FleetLimits, Seen
from controller.fleet.pool.keeper import Pool
from controller.fleet.pool.pool_plan import Request
from controller.fleet.work_item import WorkItem
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance
from controller.model.names import CellName, InstanceId
from controller.model.transitions import LIVE, InvalidStep, Released
from controller.store.record_store import LEAD_LOST

log = structlog.get_logger()
# Leases are tens of seconds: a pass over all cells need not be more frequent.
PASS_SECONDS = 2.0
# Cells that are looked at in one go, some milliseconds; between two goes the loop is others'.
AT_ONCE = 500
# Several terminations in a row are looked after by one list.
RESYNC_SOON = 0.2
DRAIN_SECONDS = 5.0
LIST_SECONDS = 60.0
LIST_AGAIN_SECONDS = 2.0
TERMINATE_SECONDS = 60.0
FOREVER = float("inf")


class Reconciler:
    """See the module. `add_warm`, where it is passed, asks for one warm cell."""

    def __init__(  # its neighbours; each is named where it is made
        self,
        book: CellStore,
        cloud: Cloud,
        act: Executor,
        limits: FleetLimits,
        pool: Pool,
        clock: Callable[[], float],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._book = book
        self._cloud = cloud
        self._act = act
        self._basic = limits
        self._limits = limits
        self._pool = pool
        self._clock = clock
        self._tasks = tasks
        self._listening = silence.begun(clock())
        self._crowded_at = 0.0
        self.rhythm = rhythm.Rhythm(limits.heartbeat, limits.heartbeat)
        """Of the cells' heartbeats."""
        self.redial_window = rhythm.redial_window(sum(cell.state in silence.LEASED for cell in book.every()))
        """Of the cells, in seconds; the first to come back are told it too."""
        self._listed_at = 0.0
        self.notices = Notices(book, cloud, limits, clock, act.taken)
        self._items: dict[CellName, WorkItem] = {}
        self._candidates: dict[InstanceId, Candidate] = {}
        self._orphans: tuple[InstanceId, ...] = ()
        self._ending: asyncio.Task[None] | None = None
        self._resync_wanted = asyncio.Event()
        self._closing = False

    def wake(self, name: CellName) -> None:
        """Something about this cell changed: look at it."""
        item = self.item(name)
        item.dirty = True
        if item.worker is None and not self._closing:
            item.worker = self._tasks.create_task(self._work(name), name=f"cell {name}")

    def waits(self, name: CellName, change: int) -> None:
        """One more (or, with -1, one less) waits for this cell."""
        item = self.item(name)
        item.callers += change
        item.asked_at = self._clock()
        self._dropped(name)

    def item(self, name: CellName) -> WorkItem:
        """The work item of a cell; made where there is none."""
        return self._items.setdefault(name, WorkItem())

    def resync_soon(self) -> None:
        """The list of instances is worth another look."""
        self._resync_wanted.set()

    async def drain(self) -> None:
        """Start nothing more; give what is being done a moment, then leave it to the next life."""
        self._closing = True
        workers = (item.worker for item in self._items.values())
        busy = [task for task in (*workers, self._ending) if task is not None]
        if busy:
            _, late = await asyncio.wait(busy, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()

    async def follow(self) -> None:
        """Look at each cell as it changes."""
        followed = 0
        async for cell in self._book.watch():
            followed += 1
            if followed % AT_ONCE == 0:
                await asyncio.sleep(0)
            if cell.state is CellState.GONE:
                self._forget(cell.name)
                self._route(cell)
                continue
            # What is told here may be older than what a pass has seen.
            self._notice(self._book.get(cell.name) or cell)
            self.wake(cell.name)

    def _notice(self, cell: Cell) -> None:
        item = self.item(cell.name)
        if item.state is not cell.state:
            # Another state is another plan: what failed before says nothing about it.
            item.state, item.not_before = cell.state, 0.0
            self._pool.noticed(cell)
            self._route(cell)

    def _unclaimed(self) -> tuple[Cell, ...]:
        """The cells that are nobody's yet. The pool knows how they are: else it would ask at once for another in the
        place of one that could not be had.
        """
        cells = self._book.unclaimed()
        for cell in cells:
            self._notice(cell)
        return cells

    async def pass_often(self, add_warm: Callable[[Request], None]) -> None:
        """Full passes: leases, time limits, orphans, the pool."""
        # Cells that were taken back before this have been sent away to dial again: their time begins here.
        now = self._clock()
        self._set_back(now)
        self._listening = silence.begun(now)
        while True:
            await self.full_pass(add_warm)
            await asyncio.sleep(PASS_SECONDS)

    async def full_pass(self, add_warm: Callable[[Request], None]) -> None:
        """One look at everything."""
        pool = await self._pool.plan(self._unclaimed)
        now = self._clock()
        self._listen(now)
        for request in pool.request:
            add_warm(request)
        for name in self.notices.unwritten():
            self.wake(name)
        ownerless: list[InstanceId] = []
        names = [cell.name for cell in self._book.every()]
        for first in range(0, max(len(names), 1), AT_ONCE):
            known = (self._book.get(name) for name in names[first : first + AT_ONCE])
            cells = tuple((cell, self.seen(cell.name)) for cell in known if cell is not None)
            observed = plan.Observed(cells=cells, orphans=self._orphans if not first else (), surplus=pool.surplus)
            for action in plan.plan(observed, self._limits, now):
                match action:
                    case plan.Collect(instance):
                        ownerless.append(instance)
                    case plan.Retire(name, reason) if name in pool.surplus:
                        # Its own plan is empty: only the full pass knows that it is one too many.
                        self._book.soon(name, Released(reason))
                    case _:
                        self.wake(action.cell)
            await asyncio.sleep(0)
        # One that was an orphan when the list was made may have been taken back since.
        ownerless = [each for each in ownerless if self._book.of_instance(each) is None]
        if ownerless and (self._ending is None or self._ending.done()):
            self._orphans = ()
            self._ending = self._tasks.create_task(self._end_orphans(ownerless), name="orphans")

    async def resync_often(self, interval: float) -> None:
        """List the cloud's instances now and then, and whenever it is worth it."""
        while True:
            try:
                await self.resync()
                await self._pause(interval)
            except (Fault, TimeoutError) as fault:
                log.warning(_not_listed(fault), cause=str(fault) or f"no answer within {LIST_SECONDS:g} s")
                await asyncio.sleep(min(interval, LIST_AGAIN_SECONDS))

    async def resync(self) -> None:
        """List the cloud's instances; wake the cells for which that may change something."""
        listed_at = self._clock()
        async with asyncio.timeout(LIST_SECONDS):
            instances = await self._cloud.instances()
        # Or the clock was set back meanwhile.
        listed_at = min(listed_at, self._clock())
        # What is found out below is told to the cloud as names and routes.
        self._act.fence()
        cells = self._book.every()
        found = sort(cells, instances, self._candidates, self._limits.grace, listed_at)
        first = not self._listed_at
        self._candidates, self._orphans = found.candidates, found.due
        self._listed_at = listed_at
        self.notices.listed({instance.id for instance in instances})
        # All at once, so that no plan is made from half a list; what comes of it in goes.
        news = [cell for cell in cells if self._listed(cell, found.owned.get(cell.name), listed_at) or first]
        for at in range(0, len(news), AT_ONCE):
            for cell in news[at : at + AT_ONCE]:
                self.wake(cell.name)
            await asyncio.sleep(0)
        if first:
            self._route(*cells)
        wanted: dict[InstanceId, dict[str, str]] = {}
        for at in range(0, len(cells), AT_ONCE):
            wanted.update(_names(cells[at : at + AT_ONCE], found.owned))
            await asyncio.sleep(0)
        self._act.fence()
        self._cloud.tag(wanted)

    def _listed(self, cell: Cell, instance: Instance | None, listed_at: float) -> bool:
        """A list has this instance of a cell, or none; whether the cell is to be looked at for it."""
        item = self.item(cell.name)
        before, item.instance = item.instance, instance
        absent = cell.instance is not None and cell.changed_at < listed_at and instance is None
        item.missing_since = (item.missing_since or listed_at) if absent else 0.0
        return absent or cell.state in {CellState.RETIRING, CellState.LOST} or before != instance

    def seen(self, name: CellName) -> Seen:
        """The facts of a cell beside its record."""
        cell = self._book.get(name)
        impaired, at = self.notices.impaired(cell.instance if cell is not None else None)
        item = self._items.get(name) or WorkItem()
        return Seen(
            listening=self._listening,
            listed_at=self._listed_at,
            instance=item.instance,
            missing_since=item.missing_since,
            asked_at=FOREVER if item.callers else item.asked_at,
            terminated_at=item.terminated_at,
            impaired=impaired,
            impaired_at=at,
        )

    def crowded(self) -> None:
        """A cell dialled in vain just now, since too many do."""
        self._crowded_at = self._clock()

    def _listen(self, now: float) -> None:
        """See whose silence counts, and for how long it may last."""
        before = self._listening
        if now < before.looked_at:
            self._set_back(now)
        cells = self._book.every()
        leased = sum(cell.state in silence.LEASED for cell in cells)
        self.rhythm = rhythm.after(self.rhythm, leased, self._basic.heartbeat, now)
        self.redial_window = rhythm.redial_window(leased)
        self._limits = rhythm.stretched(self._basic, self.rhythm)
        crowded = self._crowded_at >= before.looked_at
        after = silence.look(before, cells, self._limits.lease, self._limits.heartbeat, now, crowded=crowded)
        self._listening = after
        if after.started_at != before.started_at:
            away = now - before.looked_at
            cause = "the controller was stopped or held up" if away > 0 else "the clock was set back"
            log.warning("leases count anew", cause=cause, seconds=abs(away))
            # What was nobody's before may be another controller's by now.
            self._candidates, self._orphans = {}, ()
        if after.mass and not before.mass:
            log.warning("many cells are silent at once: none is lost by that alone", silent=after.silent)
        elif before.mass and not after.mass:
            log.info("cells are heard again", silent=after.silent)

    def _set_back(self, now: float) -> None:
        """Nothing is known from times to come: the clock may have been ahead."""
        self._book.set_back(now)
        self.notices.set_back(now)
        self._crowded_at = min(self._crowded_at, now)
        if self._listed_at > now:
            self._listed_at = 0.0  # how old that list is cannot be known
        for item in self._items.values():
            item.set_back(now)

    async def _pause(self, interval: float) -> None:
        try:
            async with asyncio.timeout(interval):
                await self._resync_wanted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(RESYNC_SOON)
        self._resync_wanted.clear()

    async def terminate(self, instances: Sequence[InstanceId]) -> None:
        """Have the cloud end instances. Raises Fault or TimeoutError, when all were asked for."""
        self._act.fence()
        async with asyncio.timeout(TERMINATE_SECONDS):
            await self._cloud.terminate(instances)

    async def carry_out(self, name: CellName, action: plan.CellAction) -> None:
        """Do what is planned for one cell. Raises Fault, TimeoutError and InvalidStep."""
        if not isinstance(action, plan.Terminate):
            await self._act.do(action)
            return
        await self.terminate([action.instance])
        self.item(name).terminated_at = self._clock()
        self.resync_soon()

    async def _end_orphans(self, orphans: list[InstanceId]) -> None:
        log.warning("ending instances that belong to no cell", instances=orphans)
        try:
            await self.terminate(orphans)
        except (Fault, TimeoutError) as fault:
            log.warning("not all of them could be ended; it is tried again", cause=str(fault))

    async def _work(self, name: CellName) -> None:
        try:
            while (item := self.item(name)).dirty and not self._closing:
                item.dirty = False
                await self.notices.write_down(name)
                if item.not_before > asyncio.get_running_loop().time():
                    return
                await self._settle(name)
        finally:
            self.item(name).worker = None
            self._dropped(name)

    async def _settle(self, name: CellName) -> None:
        """Do what is planned for one cell until nothing is."""
        while not self._closing and (action := self._next(name)) is not None:
            try:
                await self.carry_out(name, action)
            except InvalidStep as change:
                # The cell changed while we were at it: plan anew.
                log.debug("overtaken", cell=name, cause=str(change))
            except (Fault, TimeoutError) as fault:
                self._book.note(name, str(fault))
                self._later(name, str(fault))
                return
            except Exception:
                # A bug, or a cloud that breaks its promise: it must not take the other cells along.
                log.exception("broken plan", cell=name, action=type(action).__name__)
                self._later(name, "a bug")
                return
            self.item(name).backoff = 0.0
            if isinstance(action, plan.Terminate):
                return

    def _route(self, *changed: Cell) -> None:
        """Tell the cloud which networks lead to which cells, if that may have changed."""
        if any(map(networks_of, changed)):
            self._cloud.route(routes(self._book.every()))

    def _next(self, name: CellName) -> plan.CellAction | None:
        cell, now = self._book.get(name), self._clock()
        if not 0 <= now - self._listening.looked_at <= PASS_SECONDS:
            self._listen(now)
        return plan.plan_cell(cell, self.seen(name), self._limits, now) if cell is not None else None

    def _later(self, name: CellName, cause: str) -> None:
        loop = asyncio.get_running_loop()
        wait = self.item(name).failed(loop.time())
        log.info("tried again later", cell=name, cause=cause, seconds=wait)
        loop.call_later(wait + 0.01, self.wake, name)

    def _forget(self, name: CellName) -> None:
        self._items[name] = self.item(name).without_cell()
        self._dropped(name)

    def _dropped(self, name: CellName) -> None:
        """Drop the item of a cell that is gone, once nobody works on it nor waits for it."""
        if self.item(name).idle and self._book.get(name) is None:
            del self._items[name]


def _not_listed(fault: Exception) -> str:
    """What a failed look at the cloud's instances was: a list may come that nobody may act on."""
    if isinstance(fault, Fault) and fault.reason == LEAD_LOST:
        return "the list of the cloud's instances is not acted on"
    return "the cloud's instances cannot be listed"


def _names(cells: Iterable[Cell], owned: Mapping[CellName, Instance]) -> dict[InstanceId, dict[str, str]]:
    """What instances are to be called after those whom they are for, where they are not: a pod may have taken a warm
    one, and what was to be written when a controller was killed may not be.
    """
    wanted: dict[InstanceId, dict[str, str]] = {}
    for cell in cells:
        instance = owned.get(cell.name)
        if cell.state not in LIVE or instance is None:
            continue
        tags = launch_parameters.tags(cell)
        if not tags.items() <= instance.tags.items():
            wanted[instance.id] = tags
    return wanted
