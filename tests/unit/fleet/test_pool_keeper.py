"""The pool of warm cells keeps its pauses by a clock that nobody sets."""

from __future__ import annotations

from typing import Any

from controller.choice.catalogue import Catalogue
from controller.choice.unavailable import Unavailable
from controller.fleet.pool import stock_size
from controller.fleet.pool.keeper import FIRST_PAUSE, Pool, PoolSettings
from controller.fleet.pool.pool_plan import Request
from controller.fleet.pool.warm_cells import Class, Versions
from controller.model.cell import Cell, CellState, Standby
from controller.model.names import CellName
from controller.model.offer import Demand
from tests.support.fake_cloud import offers
from tests.support.fleet_life import life
from tests.support.memory_store import MemoryStore

DEMAND = Demand(cpu_millis=100, memory_mib=100)
HOUR = 3600.0


def lost(name: str, at: float, standby: Standby) -> Cell:
    """A warm cell that could not be had."""
    return Cell(name=CellName(name), state=CellState.LOST, demand=DEMAND, created_at=at, standby=standby)


async def test_a_class_that_could_not_be_had_while_the_clock_was_ahead_is_asked_for_again_in_time() -> None:
    now, ahead = 100_000.0, HOUR

    async def buyable() -> tuple[Catalogue, Unavailable]:
        return Catalogue(offers()), Unavailable()

    settings = PoolSettings(classes=(Class(name="web", demand=DEMAND, count=2),))
    pool = Pool(settings, MemoryStore(), buyable, Versions, lambda: now + ahead, lambda: now)
    pool.noticed(lost("c", now + ahead, Standby(of="web", max_price=1.0)))
    ahead = 0.0
    assert not (await pool.plan(list[Cell])).request
    assert pool.figures(())[0].paused_until == now + FIRST_PAUSE
    now += FIRST_PAUSE
    assert len((await pool.plan(list[Cell])).request) == 2
    assert pool.figures(())[0].paused_until == 0


async def test_cells_that_were_asked_for_together_and_could_not_be_had_are_one_reason_to_wait() -> None:
    now = 100_000.0

    async def buyable() -> tuple[Catalogue, Unavailable]:
        return Catalogue(offers()), Unavailable()

    settings = PoolSettings(classes=(Class(name="web", demand=DEMAND, count=3),))
    pool = Pool(settings, MemoryStore(), buyable, Versions, lambda: now, lambda: now)
    for wave in (1, 2):
        asked = (await pool.plan(list[Cell])).request
        assert len(asked) == 3
        for number, one in enumerate(asked):
            pool.noticed(lost(f"c{number}", now, one.standby))
        assert pool.figures(())[0].paused_until == now + FIRST_PAUSE * wave
        assert not (await pool.plan(list[Cell])).request
        now += FIRST_PAUSE * wave


async def test_a_pass_that_is_the_first_to_see_a_cell_that_could_not_be_had_asks_for_no_other() -> None:
    warm = PoolSettings(classes=(Class(name="web", demand=DEMAND, count=3),))
    async with life(MemoryStore(), 100_000.0, warm=warm) as one:
        asked: list[Request] = []
        await one.reconciler.full_pass(asked.append)
        assert len(asked) == 3
        for number, each in enumerate(asked):
            await one.book.add(lost(f"c{number}", one.now, each.standby))
        again: list[Request] = []
        await one.reconciler.full_pass(again.append)
        assert not again


async def test_surplus_goes_on_going_although_some_went_while_the_clock_was_ahead() -> None:
    now, ahead = 100_000.0, HOUR

    async def buyable() -> tuple[Catalogue, Unavailable]:
        return Catalogue(offers()), Unavailable()

    settings = PoolSettings(classes=(Class(name="web", demand=DEMAND, count=1, most=9),))
    pool = Pool(settings, MemoryStore(), buyable, Versions, lambda: now + ahead, lambda: now)
    fields: dict[str, Any] = {"standby": Standby(of="web", max_price=1.0), "offer": offers()[0], "connected": True}
    cells = [
        Cell(name=CellName(f"c{number}"), state=CellState.READY, demand=DEMAND, created_at=now, **fields)
        for number in range(4)
    ]
    assert len((await pool.plan(lambda: cells)).surplus) == 1
    ahead = 0.0
    assert not (await pool.plan(lambda: cells)).surplus
    now += stock_size.RELEASE_SECONDS
    assert len((await pool.plan(lambda: cells)).surplus) == 1
