"""The whole room on a real store, with a cloud in memory and cells that the test plays."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Reserved
from controller.clouds.userdata import parse
from controller.model.cell import Cell, CellState
from controller.model.offer import Demand
from tests.support.fleet_world import LIMITS, FleetWorld, failing, pod
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("brisk")


async def test_a_claimed_pod_gets_the_cheapest_cell_that_fits_connected(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))

        assert (cell.state, cell.connected) == (CellState.CLAIMED, True)
        assert cell.offer is not None
        assert (cell.offer.shape.type, cell.offer.launch_type.value) == ("small", "on-demand")
        (instance,) = world.cloud.alive()
        assert (cell.instance, cell.address, cell.pod_address) == (instance.id, instance.address, instance.pod_address)
        assert instance.tags["app"] == "web"
        assert instance.tags["chinampa.dev/cell"] == cell.name
        assert {"requested", "launching", "booting", "ready", "claimed"} <= cell.moments.keys()
        assert fleet.channel(cell.name) is await fleet.connected(cell.name)


async def test_of_a_cell_that_is_gone_the_reconciler_keeps_nothing(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        items = fleet._reconciler._items
        assert list(items) == [cell.name]

        await fleet.release(cell.name, "deleted")
        await until(lambda: fleet.list() == () and not items)


async def test_the_same_attempt_is_the_same_cell_however_often_and_from_however_many_it_is_asked(
    world: FleetWorld,
) -> None:
    async with world.controller() as fleet:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(fleet.claim(pod("web"))) for _ in range(10)]
        again = await fleet.claim(pod("web"))

        assert {call.result().name for call in calls} == {again.name}
        assert len(world.cloud.known) == 1


async def test_a_caller_who_leaves_leaves_the_cell_coming(world: FleetWorld) -> None:
    world.refuse_joins = True
    async with world.controller() as fleet:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await fleet.claim(pod("web"))
        world.refuse_joins = False
        cell = await fleet.claim(pod("web"))

        assert [each.name for each in fleet.list()] == [cell.name]
        assert len(world.cloud.known) == 1


async def test_a_released_cell_goes_with_its_instance_and_watchers_see_it_go(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        seen: list[Cell] = []

        async def watch() -> None:
            async for each in fleet.watch():
                seen.append(each)
                if each.state is CellState.GONE:
                    return

        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            await asyncio.sleep(0)
            await fleet.release(cell.name, "deleted")
        await fleet.release(cell.name, "twice is no error")

        assert [each.state for each in seen] == [CellState.CLAIMED, CellState.RETIRING, CellState.GONE] or (
            seen[-1].state is CellState.GONE
        )
        assert fleet.list() == ()
        assert world.cloud.alive() == ()


async def test_what_one_offer_refuses_the_next_gives_within_the_same_pass(world: FleetWorld) -> None:
    world.cloud.refusals["small"] = "InsufficientInstanceCapacity"
    async with world.controller() as fleet:
        first = await fleet.claim(pod("one"))
        second = await fleet.claim(pod("two"))

        assert first.offer is not None
        assert second.offer is not None
        assert {first.offer.shape.type, second.offer.shape.type} == {"medium"}
        asked = world.cloud.requests[-1].offers
        assert "small" not in {offer.shape.type for offer in asked}, "a refused offer is left alone for a while"


async def test_without_capacity_the_claim_says_so_and_nothing_is_left(world: FleetWorld) -> None:
    for size in ("small", "medium", "large"):
        world.cloud.refusals[size] = "InsufficientInstanceCapacity"
    async with world.controller() as fleet:
        fault = await failing(fleet.claim(pod("web")))
        await until(lambda: not fleet.list())

        assert fault.kind is Kind.NO_CAPACITY
        assert world.cloud.known == {}


async def test_an_impossible_size_names_the_demand_that_no_type_meets(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        fault = await failing(fleet.claim(pod("web", demand=Demand(cpu_millis=64_000, memory_mib=100))))

        assert fault.kind is Kind.INVALID
        assert "64000m CPU" in str(fault)


async def test_a_reservation_chooses_its_own_type_and_zone(world: FleetWorld) -> None:
    world.cloud.reservations = {"cr-1": Reserved(type="large", zone="a"), "cr-2": Reserved(type="small", zone="a")}
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("p", capacity_reservation="cr-1"))
        assert cell.offer is not None
        assert cell.offer.shape.type == "large", "though there are cheaper ones that fit"
        with pytest.raises(Fault, match="memory"):
            await fleet.claim(pod("q", demand=Demand(cpu_millis=100, memory_mib=700), capacity_reservation="cr-2"))


async def test_an_unknown_wish_is_refused_by_name(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        fault = await failing(fleet.claim(pod("web", instance_typ="small")))

        assert "chinampa.dev/instance-typ" in str(fault)
        assert fleet.list() == ()


async def test_a_missing_right_is_told_and_not_tried_for_ever(world: FleetWorld) -> None:
    world.cloud.refusals["small"] = "UnauthorizedOperation"
    async with world.controller() as fleet:
        fault = await failing(fleet.claim(pod("web")))

        assert fault.kind is Kind.DENIED
        assert len(world.cloud.requests) == 1


async def test_a_throttled_launch_is_repeated_with_its_token(world: FleetWorld) -> None:
    world.cloud.refusals["small"] = "RequestLimitExceeded"
    async with world.controller() as fleet, asyncio.TaskGroup() as tasks:
        claim = tasks.create_task(fleet.claim(pod("web")))
        await until(lambda: len(world.cloud.requests) > 2)
        assert "RequestLimitExceeded" in fleet.list()[0].reason
        world.cloud.refusals.clear()
        await claim

        assert len({request.client_token for request in world.cloud.requests}) == 1
        assert len({request.user_data for request in world.cloud.requests}) == 1


async def test_a_silent_cell_is_lost_and_its_instance_ended(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        world.cloud.before = lambda call: None
        seen: list[str] = []
        world.link.heartbeat = lambda cell: None  # type: ignore[method-assign] # the agent hangs
        async with asyncio.timeout(20):
            async for each in fleet.watch():
                seen.append(each.reason)
                if each.state is CellState.GONE:
                    break

        assert any("CellLost" in reason for reason in seen)
        assert world.cloud.alive() == ()
        assert (await failing(fleet.connected(cell.name))).kind is Kind.UNAVAILABLE


async def test_an_instance_that_ends_by_itself_loses_its_cell_at_once(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        assert cell.instance is not None
        world.cloud.end(cell.instance, "Client.InstanceInitiatedShutdown")
        await until(lambda: fleet.get(cell.name) is None, 1.0)

        again = await fleet.claim(pod("web"))
        assert again.name != cell.name


async def test_a_restarted_controller_keeps_its_cells_and_waits_for_them_to_redial(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
    async with world.controller() as fleet:
        (known,) = fleet.list()
        assert (known.name, known.state) == (cell.name, CellState.CLAIMED)
        again = await fleet.claim(pod("web"))

        assert again.name == cell.name
        assert len(world.cloud.known) == 1


async def test_an_orphan_is_ended_after_two_lists_and_the_grace_and_not_before(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        await fleet.claim(pod("web"))
    (world.folder / "store.db").unlink()
    async with world.controller():
        assert len(world.cloud.alive()) == 1
        await asyncio.sleep(0.2)
        assert len(world.cloud.alive()) == 1
        await until(lambda: not world.cloud.alive(), 3.0)


async def test_an_instance_joins_once_and_only_with_its_token(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        assert cell.instance is not None
        token = parse(world.cloud.requests[0].user_data).token
        identity = world.cloud.identity(cell.instance)
        asked = ((token, "another"), ("0" * 64, cell.instance))
        faults = [await failing(fleet.admit(*each, identity)) for each in asked]

        assert [fault.reason for fault in faults] == ["JoinedBefore", "WrongToken"]
        assert token not in str(cell)


async def test_many_cells_that_fall_silent_at_once_are_kept_until_the_cloud_says_that_one_is_gone(
    world: FleetWorld,
) -> None:
    async with world.controller() as fleet:
        async with asyncio.TaskGroup() as tasks:
            claims = [tasks.create_task(fleet.claim(pod(f"web-{number}"))) for number in range(6)]
        names = [claim.result().name for claim in claims]
        world.mute.update(names)
        silent_since = time.time()
        await until(lambda: time.time() > silent_since + 3 * LIMITS.lease)
        assert {cell.state for cell in fleet.list()} == {CellState.CLAIMED}

        gone = claims[0].result().instance
        assert gone is not None
        world.cloud.end(gone, "Server.InternalError")
        await until(lambda: fleet.get(names[0]) is None)
        assert {cell.name for cell in fleet.list()} == set(names[1:])


async def test_a_later_attempt_takes_over_from_one_that_was_never_handed_over(world: FleetWorld) -> None:
    world.refuse_joins = True
    async with world.controller() as fleet:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await fleet.claim(pod("web", attempt=0))
        world.refuse_joins = False
        cell = await fleet.claim(pod("web", attempt=1))
        await until(lambda: [each.name for each in fleet.list()] == [cell.name])

        assert len(world.cloud.alive()) == 1


async def test_what_happens_on_a_cell_is_told_and_its_stages_are_kept(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:

            async def first() -> str:
                async for _, event in fleet.events():
                    return event.reason
                return ""

            heard = tasks.create_task(first())
            await asyncio.sleep(0.05)
            world.link.event(cell.name, "Pulled", 12.0)
        await until(lambda: "pulled" in (fleet.get(cell.name) or cell).moments)

        assert heard.result() == "Pulled"


async def test_who_claims_the_pod_of_another_gets_its_cell_not_nor_ends_it(world: FleetWorld) -> None:
    async with world.controller() as fleet:
        mine = msgspec.structs.replace(pod("a"), by="shim@node-1")
        cell = await fleet.claim(mine)
        with pytest.raises(Fault) as told:
            await fleet.claim(msgspec.structs.replace(mine, by="shim@node-2"))
        assert told.value.reason == "ClaimedByAnother"
        world.refuse_joins = True
        async with asyncio.TaskGroup() as tasks:
            coming = tasks.create_task(fleet.claim(msgspec.structs.replace(pod("b"), by="shim@node-1")))
            await until(lambda: len(fleet.list()) == 2)
            world.refuse_joins = False
            await fleet.claim(msgspec.structs.replace(pod("b", attempt=1), by="shim@node-2"))
        assert coming.result().state is CellState.CLAIMED
        assert fleet.get(cell.name) is not None
