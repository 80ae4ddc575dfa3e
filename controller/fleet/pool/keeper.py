"""The pool of warm cells: remembers arrivals, boots, hits and failures of each class, and has the plan made from them.

What was learnt of arrivals is stored once a minute and found again after a restart: a profile of the day takes days to
learn, and a minute of it lost is no harm. Hits and misses for metrics count from the start of this life.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import structlog

from cellwire.faults import Fault
from controller.choice import requirements
from controller.choice.catalogue import Catalogue
from controller.choice.rank import Ranked, rank
from controller.choice.unavailable import Unavailable
from controller.fleet.pool import forecast as forecasts
from controller.fleet.pool import image_forecast, stock_size
from controller.fleet.pool.pool_plan import Outlook, PoolPlan, plan_pool
from controller.fleet.pool.stock_size import Learnt
from controller.fleet.pool.warm_cells import (
    Class,
    Versions,
    has_disk,
    serves,
    stands_by_for,
    suitable,
    usd_per_hour,
    warm,
)
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.model.pod import PodClaim
from controller.store.record_store import Store, decode, encode

log = structlog.get_logger()
KIND = "standby"
KIND_IMAGES = "standby-images"
REMEMBER_SECONDS = 60.0
# After a warm cell could not be had: nobody waits for it.
FIRST_PAUSE = 30.0
LONGEST_PAUSE = 600.0


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`max_usd_hour` bounds all classes together, 0 for no bound; `max_waste` is how many times the price of a fresh
    cell a pod pays at most for a warm one.
    """

    classes: tuple[Class, ...] = ()
    max_usd_hour: float = 0.0
    max_waste: float = 2.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One class, for metrics. `hits` found a ready cell, `waited` a booting one, `misses` none; these and `requested`,
    `released` and `failed` count cells since the controller started. `rate` in pods per second; `paused_until` a unix
    second, 0 for no pause.
    """

    of: str
    hits: int
    waited: int
    misses: int
    requested: int
    released: int
    failed: int
    wanted: int
    warm: int
    ready: int
    usd_per_hour: float
    rate: float
    boot_seconds: float
    paused_until: float


@dataclass(slots=True)
class _PoolPause:
    """While no warm cell of a class is asked for, since one could not be had; by a clock that nobody sets."""

    steady: Callable[[], float]
    paused_until: float = 0.0
    seconds: float = 0.0

    def begin(self) -> bool:
        """Twice as long as the last one, unless that one runs; whether it began."""
        if self.left:
            return False
        self.seconds = min(max(self.seconds * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self.paused_until = self.steady() + self.seconds
        return True

    @property
    def left(self) -> float:
        """Seconds, 0 where it is over."""
        return max(self.paused_until - self.steady(), 0.0)


@dataclass(slots=True)
class _State:
    """What changes of one class."""

    of: Class
    required: requirements.Requirements
    steady: Callable[[], float]
    pause: _PoolPause
    learnt: Learnt = field(default_factory=Learnt)
    images: image_forecast.ImageShares = field(default_factory=image_forecast.ImageShares)
    outlook: Outlook = field(default_factory=lambda: Outlook(want=0, keep=0))
    # The cheapest cell of the class, whatever was refused of late.
    nominal: Ranked | None = None
    release_after: float = 0.0
    hits: int = 0
    waited: int = 0
    misses: int = 0
    requested: int = 0
    released: int = 0
    failed: int = 0


class Pool:
    """See the module. `buyable` gives what can be bought, and what was refused of late; `clock` unix seconds, `steady`
    those of a clock that nobody sets.
    """

    def __init__(
        self,
        settings: PoolSettings,
        store: Store,
        buyable: Callable[[], Awaitable[tuple[Catalogue, Unavailable]]],
        versions: Callable[[], Versions],
        clock: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._buyable = buyable
        self._versions = versions
        self._clock = clock
        self._states = {
            each.name: _State(each, requirements.read(each.annotations), steady, _PoolPause(steady))
            for each in settings.classes
        }

    async def load(self) -> None:
        """Find again what an earlier life learnt."""
        for kind in (KIND, KIND_IMAGES):
            for stored in await self._store.list(kind):
                state = self._states.get(stored.key)
                if state is None:
                    continue
                try:
                    if kind == KIND:
                        state.learnt = decode(stored.value, Learnt)
                    else:
                        state.images = decode(stored.value, image_forecast.ImageShares)
                except Fault as fault:
                    log.warning("what was learnt of a class of warm cells is lost", of=stored.key, cause=str(fault))

    async def remember_often(self) -> None:
        """Store what was learnt, now and then."""
        while True:
            await asyncio.sleep(REMEMBER_SECONDS)
            await self.remember()

    async def remember(self) -> None:
        """Store what was learnt."""
        for state in self._states.values():
            try:
                await self._store.put(KIND, state.of.name, encode(state.learnt))
                await self._store.put(KIND_IMAGES, state.of.name, encode(state.images))
            except Fault as fault:
                log.warning("what was learnt of warm cells cannot be stored", of=state.of.name, cause=str(fault))

    async def plan(self, every: Callable[[], Iterable[Cell]]) -> PoolPlan:
        """What to request and what to let go now; `every` gives the cells as they are when it is called."""
        catalogue, unavailable = await self._offers()
        cells, now = warm(every()), self._clock()
        if catalogue is not None:
            for state in self._states.values():
                have = sum(stands_by_for(cell, state.of) for cell in cells)
                _look_ahead(state, have, catalogue, unavailable, self._settings.max_waste, now)
        wanted = [(state.of, state.outlook) for state in self._states.values()]
        made = plan_pool(cells, wanted, self._versions(), now, self._settings.max_usd_hour)
        for request in made.request:
            self._states[request.standby.of].requested += 1
        by_name = {cell.name: cell for cell in cells}
        for name in made.surplus:
            standby = by_name[name].standby
            if standby is not None and standby.of in self._states:
                self._states[standby.of].released += 1
        return made

    async def best(
        self, cells: Iterable[Cell], claim: PodClaim, required: requirements.Requirements
    ) -> tuple[CellName, ...]:
        """Warm cells that a pod may have, the best first."""
        cells = warm(cells)
        if not cells:
            return ()
        catalogue, unavailable = await self._offers()
        # Where no fresh one can be had, any warm one is better.
        most = float("inf")
        if catalogue is not None:
            fresh = rank(claim.demand, required, catalogue, unavailable, self._clock(), most=1).ranked
            most = fresh[0].usd_per_hour * self._settings.max_waste if fresh else most
        return suitable(cells, claim.demand, required, claim.annotations, most)

    async def _offers(self) -> tuple[Catalogue | None, Unavailable]:
        if not self._states:
            return None, Unavailable()
        try:
            return await self._buyable()
        except Fault as fault:
            log.warning("the pool cannot see what can be bought", cause=str(fault))
            return None, Unavailable()

    def came(self, claim: PodClaim, required: requirements.Requirements, took: Cell | None) -> None:
        """A pod came, and took this warm cell or none."""
        state = self._class_for(claim, required)
        if state is None:
            return
        if claim.images:
            state.images = image_forecast.came(state.images, claim.images)
        hit = took is not None and took.state is CellState.READY
        if hit:
            state.hits += 1
        elif took is not None:
            state.waited += 1
        else:
            state.misses += 1
        now = self._clock()
        helpless = state.outlook.want >= state.of.most or state.pause.left > 0
        state.learnt = stock_size.came(state.learnt, state.of.target_hit, now, hit=hit, helpless=helpless)

    def likely_images(self, of: str) -> tuple[str, ...]:
        """What the next pods of a class will need, as far as its latest pods tell."""
        state = self._states.get(of)
        return image_forecast.wanted(state.images) if state is not None else ()

    def noticed(self, cell: Cell) -> None:
        """A cell is in another state than it was."""
        state = self._states.get(cell.standby.of) if cell.standby is not None else None
        if state is None:
            return
        if cell.state is CellState.READY and "requested" in cell.moments:
            took = cell.moments["ready"] - cell.moments["requested"]
            state.learnt = Learnt(forecasts.booted(state.learnt.history, took), state.learnt.patience)
            state.pause.seconds = 0.0
        if cell.state is CellState.LOST and cell.claim is None:
            state.failed += 1
        if cell.state is CellState.LOST and "ready" not in cell.moments and state.pause.begin():
            log.info("no more warm cells of a class for a while", of=state.of.name, seconds=state.pause.seconds)

    def figures(self, cells: Iterable[Cell]) -> tuple[Figures, ...]:
        """Each class as it is now."""
        cells, now = warm(cells), self._clock()
        return tuple(_figures(state, cells, now) for state in self._states.values())

    def _class_for(self, claim: PodClaim, required: requirements.Requirements) -> _State | None:
        """The cheapest class whose cells would do for a pod."""
        found: _State | None = None
        for state in self._states.values():
            if state.nominal is None or not _would_do(state, state.nominal, claim, required):
                continue
            if found is None or found.nominal is None or state.nominal.usd_per_hour < found.nominal.usd_per_hour:
                found = state
        return found


def _would_do(state: _State, nominal: Ranked, claim: PodClaim, required: requirements.Requirements) -> bool:
    if not has_disk(state.of.demand.disk_gb, state.required.volume_gb, claim.demand, required):
        return False
    return serves(nominal.offer, state.of.annotations, claim.demand, required, claim.annotations)


def _look_ahead(
    state: _State, have: int, catalogue: Catalogue, unavailable: Unavailable, max_waste: float, now: float
) -> None:
    each = state.of
    nominal = rank(each.demand, state.required, catalogue, Unavailable(), now, most=1).ranked
    state.nominal = nominal[0] if nominal else None
    buyable = rank(each.demand, state.required, catalogue, unavailable, now, most=1).ranked
    # A class made for small pods does not wait for them on large instances, even while nothing else can be had.
    most_usd = nominal[0].usd_per_hour * max_waste if nominal else 0.0
    price = buyable[0].usd_per_hour if buyable and buyable[0].usd_per_hour <= most_usd else None
    state.learnt = stock_size.looked(state.learnt, now)
    stock = stock_size.stock(state.learnt, each, now)
    may_go, state.release_after = stock_size.release(have - stock.keep, state.release_after, state.steady())
    state.outlook = Outlook(
        want=stock.want,
        keep=stock.keep,
        release=may_go,
        worth=stock.worth,
        usd_per_hour=price if not state.pause.left else None,
    )


def _figures(state: _State, cells: Iterable[Cell], now: float) -> Figures:
    mine = [cell for cell in cells if stands_by_for(cell, state.of)]
    ahead = forecasts.forecast(state.learnt.history, now)
    return Figures(
        of=state.of.name,
        hits=state.hits,
        waited=state.waited,
        misses=state.misses,
        requested=state.requested,
        released=state.released,
        failed=state.failed,
        wanted=state.outlook.want,
        warm=len(mine),
        ready=sum(cell.state is CellState.READY and cell.connected for cell in mine),
        usd_per_hour=sum(usd_per_hour(cell) for cell in mine),
        rate=ahead.rate,
        boot_seconds=ahead.boot,
        paused_until=now + left if (left := state.pause.left) else 0.0,
    )
