"""What the cloud announces of instances, and what becomes of their cells and pods."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from controller.clouds.protocol import Notice
from controller.fleet.pool.keeper import PoolSettings
from controller.model.cell import Cell, CellState, NoticeKind
from controller.model.names import CellName, InstanceId
from tests.support.fleet_world import LIMITS, SETTINGS, WARM, FleetWorld, pod
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("brisk")


def warned(cell: Cell, kind: NoticeKind = NoticeKind.INTERRUPTION, *, ends: bool = True) -> Notice:
    assert cell.instance is not None
    return Notice(instance=cell.instance, kind=kind, at=time.time() + 120, message="taken", ends=ends)


async def test_a_pod_whose_instance_will_be_taken_is_told_and_gets_its_next_cell_meanwhile(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        world.cloud.told.put_nowait(warned(cell))
        await until(lambda: (known := fleet.get(cell.name)) and known.announced and known.announced.ending_since)
        other = await fleet.claim(pod("web", attempt=1))

        before = fleet.get(cell.name)
        assert before is not None
        assert (before.state, before.connected) == (CellState.CLAIMED, True), "the old one winds down"
        assert other.name != cell.name
        assert other.offer is not None
        assert cell.offer is not None
        assert (other.offer.shape.type, other.offer.launch_type) != (cell.offer.shape.type, cell.offer.launch_type)
    async with world.controller() as later:
        known = later.get(cell.name)
        assert known is not None
        assert known.announced is not None, "a controller that starts again still knows it"


async def test_a_recommendation_is_only_told_and_moves_the_pod_where_the_settings_say_so(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        world.cloud.told.put_nowait(warned(cell, NoticeKind.REBALANCE, ends=False))
        await until(lambda: (known := fleet.get(cell.name)) and known.announced)
        await asyncio.sleep(0.2)
        known = fleet.get(cell.name)
        assert known is not None
        assert known.announced is not None
        assert not known.announced.ending_since
    moving = msgspec.structs.replace(SETTINGS, limits=msgspec.structs.replace(LIMITS, rebalance_ends=True))
    async with world.controller(moving) as fleet:
        world.cloud.told.put_nowait(warned(cell, NoticeKind.REBALANCE, ends=False))
        await until(lambda: (now := fleet.get(cell.name)) and now.announced and now.announced.ending_since)


async def test_a_warm_cell_whose_instance_will_end_is_replaced_at_once(world: FleetWorld) -> None:
    settings = msgspec.structs.replace(SETTINGS, standby=PoolSettings(classes=(WARM,)))
    async with world.controller(settings) as fleet:

        def ready() -> set[CellName]:
            return {cell.name for cell in fleet.list() if cell.state is CellState.READY and cell.connected}

        await until(lambda: len(ready()) == 2)
        doomed, other = sorted(ready())
        known = fleet.get(doomed)
        assert known is not None
        world.cloud.told.put_nowait(warned(known, NoticeKind.MAINTENANCE))
        await until(lambda: fleet.get(doomed) is None and len(ready()) == 2)
        assert other in ready()


async def test_a_claim_that_waits_for_a_cell_whose_instance_will_be_taken_gets_another(world: FleetWorld) -> None:
    world.refuse_joins = True
    async with world.controller() as fleet, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(fleet.claim(pod("web")))
        await until(lambda: any(cell.state is CellState.BOOTING for cell in fleet.list()))
        (first,) = fleet.list()
        world.cloud.told.put_nowait(warned(first))
        await until(lambda: any(cell.name != first.name for cell in fleet.list()))
        world.refuse_joins = False
        cell = await asked
        assert cell.name != first.name
        assert cell.state is CellState.CLAIMED


async def test_a_notice_that_is_faster_than_the_answer_to_a_launch_is_not_lost(world: FleetWorld) -> None:
    world.refuse_joins = True
    async with world.controller() as fleet, asyncio.TaskGroup() as tasks:
        world.cloud.told.put_nowait(
            Notice(instance=InstanceId("i-00000001"), kind=NoticeKind.INTERRUPTION, at=0.0, message="taken", ends=True)
        )
        await asyncio.sleep(0.05)
        asked = tasks.create_task(fleet.claim(pod("web")))
        await until(lambda: len(world.cloud.known) == 2)
        world.refuse_joins = False
        assert (await asked).instance == "i-00000002"


async def test_notices_of_other_peoples_instances_make_nobody_look_at_ours(world: FleetWorld) -> None:
    looks: list[str] = []
    world.cloud.before = looks.append
    async with world.controller(msgspec.structs.replace(SETTINGS, survey=60.0)) as fleet:
        cell = await fleet.claim(pod("web"))
        assert cell.instance is not None
        await until(lambda: "instances" in looks)
        looks.clear()
        for number in range(20):
            theirs = InstanceId(f"i-{number:017x}")
            world.cloud.told.put_nowait(
                Notice(instance=theirs, kind=NoticeKind.STATE_CHANGE, at=0.0, message="stopping")
            )
        await until(world.cloud.told.empty)
        await asyncio.sleep(0.2)
        assert "instances" not in looks
        world.cloud.told.put_nowait(
            Notice(instance=cell.instance, kind=NoticeKind.STATE_CHANGE, at=0.0, message="stopping")
        )
        await until(lambda: "instances" in looks)
