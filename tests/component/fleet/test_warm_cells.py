"""Warm cells of the whole room: kept, given away, counted, forecast and bounded."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from controller.fleet.pool import forecast, keeper
from controller.fleet.pool.keeper import PoolSettings
from controller.fleet.pool.warm_cells import Class
from controller.fleet.room import FleetSettings
from controller.model.cell import CellState
from controller.model.offer import Demand
from tests.support.fleet_world import LIMITS, SETTINGS, WARM, FleetWorld, pod
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("brisk")


async def test_warm_cells_are_kept_and_given_to_the_first_pod_that_fits(world: FleetWorld) -> None:
    settings = FleetSettings(limits=LIMITS, survey=0.1, standby=PoolSettings(classes=(WARM,)))
    async with world.controller(settings) as fleet:
        await until(lambda: len([cell for cell in fleet.list() if cell.connected]) == 2)
        warm = {cell.name for cell in fleet.list()}
        cell = await fleet.claim(pod("web"))
        big = await fleet.claim(pod("big", demand=Demand(cpu_millis=3000, memory_mib=400)))

        assert cell.name in warm
        assert big.name not in warm
        await until(lambda: len([cell for cell in fleet.list() if cell.claim is None]) == 2)


async def test_a_warm_cell_that_stood_by_for_longer_than_a_claim_may_wait_is_handed_to_its_pod(
    world: FleetWorld,
) -> None:
    limits = msgspec.structs.replace(LIMITS, unclaimed=0.5)
    settings = msgspec.structs.replace(SETTINGS, limits=limits, standby=PoolSettings(classes=(WARM,)))
    async with world.controller(settings) as fleet:
        await until(lambda: sum(cell.state is CellState.READY for cell in fleet.list()) == WARM.count)
        oldest = max(cell.created_at for cell in fleet.list())
        await until(lambda: time.time() > oldest + limits.unclaimed)
        warm = {cell.name for cell in fleet.list()}

        async with asyncio.timeout(20):
            cell = await fleet.claim(pod("web"))

        assert cell.name in warm
        assert cell.state is CellState.CLAIMED


async def test_hits_and_misses_of_the_pool_are_counted_for_the_class_that_would_have_done(world: FleetWorld) -> None:
    warm = Class(name="warm", count=1, demand=Demand(cpu_millis=400, memory_mib=400))
    settings = FleetSettings(limits=LIMITS, survey=0.1, standby=PoolSettings(classes=(warm,)))
    async with world.controller(settings) as fleet:
        await until(lambda: fleet.pool()[0].ready == 1)
        await fleet.claim(pod("web"))
        await fleet.claim(pod("big", demand=Demand(cpu_millis=3000, memory_mib=400)))
        world.refuse_joins = True
        await until(lambda: fleet.pool()[0].warm == 1)
        (figures,) = fleet.pool()

        assert (figures.of, figures.hits, figures.misses, figures.wanted) == ("warm", 1, 0, 1)
        assert figures.usd_per_hour > 0
        world.refuse_joins = False


async def test_an_adaptive_pool_learns_from_arrivals_and_still_knows_after_a_restart(
    world: FleetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "REMEMBER_SECONDS", 0.05)
    monkeypatch.setattr(forecast, "FIRST_BOOT", 0.2)
    monkeypatch.setattr(forecast, "SHORTEST_BIN", 0.2)
    warm = Class(name="warm", most=3, demand=Demand(cpu_millis=400, memory_mib=400))
    settings = FleetSettings(limits=LIMITS, survey=0.1, standby=PoolSettings(classes=(warm,)))
    async with world.controller(settings) as fleet:
        await asyncio.sleep(0.2)
        assert not fleet.list()
        for number in range(8):
            await fleet.claim(pod(f"web-{number}"))
        await until(lambda: fleet.pool()[0].ready > 0)
        assert len([cell for cell in fleet.list() if cell.claim is None]) <= 3
        assert fleet.pool()[0].misses >= 1
        await asyncio.sleep(0.2)
    async with world.controller(settings) as fleet:
        assert fleet.pool()[0].rate > 0


async def test_want_of_capacity_for_one_class_leaves_the_others_alone(world: FleetWorld) -> None:
    world.cloud.refusals = {"large": "InsufficientInstanceCapacity"}
    huge = Class(name="huge", count=2, demand=Demand(cpu_millis=3000, memory_mib=400))
    settings = FleetSettings(limits=LIMITS, survey=0.1, standby=PoolSettings(classes=(huge, WARM)))
    async with world.controller(settings) as fleet:
        await until(lambda: fleet.pool()[1].ready == 2)
        await until(lambda: fleet.pool()[0].paused_until > 0)
        asked = len(world.cloud.requests)
        await asyncio.sleep(0.3)

        assert len(world.cloud.requests) == asked, "what was refused is not asked for again at once"
        assert fleet.pool()[1].paused_until == 0


async def test_warm_cells_of_an_older_agent_are_replaced_and_the_pool_is_never_empty(world: FleetWorld) -> None:
    def settings(version: str) -> FleetSettings:
        standby = PoolSettings(classes=(WARM,))
        return FleetSettings(limits=LIMITS, survey=0.1, standby=standby, agent_version=version)

    async with world.controller(settings("1")) as fleet:
        await until(lambda: fleet.pool()[0].ready == 2)
        before = {cell.name for cell in fleet.list()}
    async with world.controller(settings("2")) as fleet:
        await until(lambda: fleet.pool()[0].ready > 0)
        emptiest = 2

        def replaced() -> bool:
            nonlocal emptiest
            emptiest = min(emptiest, fleet.pool()[0].warm)
            return before.isdisjoint(cell.name for cell in fleet.list()) and fleet.pool()[0].ready == 2

        await until(replaced)

        assert emptiest == 2


async def test_the_bound_in_money_holds_for_all_warm_cells_together(world: FleetWorld) -> None:
    standby = PoolSettings(classes=(WARM,), max_usd_hour=0.015)
    async with world.controller(FleetSettings(limits=LIMITS, survey=0.1, standby=standby)) as fleet:
        await until(lambda: fleet.pool()[0].ready == 1)
        await asyncio.sleep(0.2)

        assert len(fleet.list()) == 1
