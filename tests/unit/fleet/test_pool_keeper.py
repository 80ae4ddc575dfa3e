"""The pool of warm cells keeps its pauses by a clock that nobody sets."""

from __future__ import annotations

from typing import Any

from controller.choice.catalogue import Catalogue
from controller.choice.unavailable import Unavailable
from controller.fleet.pool import stock_size
from controller.fleet.pool.keeper import FIRST_PAUSE, Pool, PoolSettings
from controller.fleet.pool.warm_cells import Class, Versions
from controller.model.cell import Cell, CellState, Standby
from controller.model.names import CellName
from controller.model.offer import Demand
from tests.support.fake_cloud import offers
from tests.support.memory_store import MemoryStore

DEMAND = Demand(cpu_millis=100, memory_mib=100)
HOUR = 3600.0


async def test_a_class_that_could_not_be_had_while_the_clock_was_ahead_is_asked_for_again_in_time() -> None:
    now, ahead = 100_000.0, HOUR

    async def buyable() -> tuple[Catalogue, Unavailable]:
        return Catalogue(offers()), Unavailable()

    settings = PoolSettings(classes=(Class(name="web", demand=DEMAND, count=2),))
    pool = Pool(settings, MemoryStore(), buyable, Versions, lambda: now + ahead, lambda: now)
    lost = Cell(
        name=CellName("c"),
        state=CellState.LOST,
        demand=DEMAND,
        created_at=now + ahead,
        standby=Standby(of="web", max_price=1.0),
    )
    pool.noticed(lost)
    ahead = 0.0
    assert not (await pool.plan(list[Cell])).request
    assert pool.figures(())[0].paused_until == now + FIRST_PAUSE
    now += FIRST_PAUSE
    assert len((await pool.plan(list[Cell])).request) == 2
    assert pool.figures(())[0].paused_until == 0


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
