"""The whole room on a real store, with a cloud in memory and cells that the test plays."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Notice, Reserved
from controller.clouds.userdata import parse
from controller.fleet import reconciler, room, work_item
from controller.fleet.plan import FleetLimits
from controller.fleet.pool import forecast, keeper
from controller.fleet.pool.keeper import PoolSettings
from controller.fleet.pool.warm_cells import Class
from controller.fleet.registry_facts import RegistryFacts
from controller.fleet.room import Fleet, FleetSettings
from controller.model.cell import Cell, CellState, NoticeKind
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.store import sqlite
from tests.support.fake_cloud import FakeCloud
from tests.support.fake_link import FakeLink

SMALL = Demand(cpu_millis=100, memory_mib=200)
LIMITS = FleetLimits(lease=2.0, heartbeat=0.1, boot=5.0, launch=5.0, unclaimed=5.0, grace=0.4, terminate_again=0.2)
WARM = Class(name="warm", count=2, demand=Demand(cpu_millis=400, memory_mib=400))
SETTINGS = FleetSettings(limits=LIMITS, survey=0.1, registries=(RegistryFacts(host="registry.demo"),))


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "PASS_SECONDS", 0.05)
    monkeypatch.setattr(reconciler, "AT_ONCE", 1)
    monkeypatch.setattr(reconciler, "RESYNC_SOON", 0.01)
    monkeypatch.setattr(work_item, "FIRST_WAIT", 0.05)


def pod(name: str, attempt: int = 0, demand: Demand = SMALL, **annotations: str) -> PodClaim:
    return PodClaim(
        pod=PodRef(uid=PodUid(name), namespace="default", name=name, attempt=attempt),
        demand=demand,
        labels={"app": "web"},
        annotations={f"chinampa.dev/{key.replace('_', '-')}": value for key, value in annotations.items()},
    )


@dataclass
class World:
    """A cloud that outlives controllers."""

    folder: Path
    cloud: FakeCloud = field(default_factory=FakeCloud)
    link: FakeLink = field(default_factory=FakeLink)
    refuse_joins: bool = False
    mute: set[CellName] = field(default_factory=set[CellName])

    @asynccontextmanager
    async def controller(self, settings: FleetSettings = SETTINGS) -> AsyncGenerator[Fleet]:
        self.link = FakeLink()
        async with (
            sqlite.running(self.folder / "store.db") as store,
            room.running(settings, store, self.cloud, self.link) as fleet,
            asyncio.TaskGroup() as tasks,
        ):
            agents = tasks.create_task(self._agents(fleet))
            try:
                yield fleet
            finally:
                agents.cancel()

    async def _agents(self, fleet: Fleet) -> None:
        """Every instance runs an agent that joins once and stays connected."""
        joined: dict[str, CellName] = {cell.instance or "": cell.name for cell in fleet.list()}
        while True:
            for one in self.cloud.alive():
                if one.id not in joined and not self.refuse_joins:
                    token = parse(next(r for r in self.cloud.requests if r.client_token == one.client_token).user_data)
                    with contextlib.suppress(Fault):
                        joined[one.id] = (await fleet.admit(token.token, self.cloud.identity(one.id))).cell
                if joined.get(one.id) in self.mute:
                    continue
                if (name := joined.get(one.id)) and name not in self.link.channels:
                    self.link.connect(name, agent=1.0)
                elif name:
                    self.link.heartbeat(name)
            await asyncio.sleep(0.02)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def until(ready: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not ready():
            await asyncio.sleep(0.01)


async def failing(work: Awaitable[object]) -> Fault:
    with pytest.raises(Fault) as raised:
        async with asyncio.timeout(20):
            await work
    return raised.value


async def test_a_claimed_pod_gets_the_cheapest_cell_that_fits_connected(world: World) -> None:
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


async def test_of_a_cell_that_is_gone_the_reconciler_keeps_nothing(world: World) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        items = fleet._reconciler._items
        assert list(items) == [cell.name]

        await fleet.release(cell.name, "deleted")
        await until(lambda: fleet.list() == () and not items)


async def test_the_same_attempt_is_the_same_cell_however_often_and_from_however_many_it_is_asked(world: World) -> None:
    async with world.controller() as fleet:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(fleet.claim(pod("web"))) for _ in range(10)]
        again = await fleet.claim(pod("web"))

        assert {call.result().name for call in calls} == {again.name}
        assert len(world.cloud.known) == 1


async def test_a_caller_who_leaves_leaves_the_cell_coming(world: World) -> None:
    world.refuse_joins = True
    async with world.controller() as fleet:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await fleet.claim(pod("web"))
        world.refuse_joins = False
        cell = await fleet.claim(pod("web"))

        assert [each.name for each in fleet.list()] == [cell.name]
        assert len(world.cloud.known) == 1


async def test_a_released_cell_goes_with_its_instance_and_watchers_see_it_go(world: World) -> None:
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


async def test_what_one_offer_refuses_the_next_gives_within_the_same_pass(world: World) -> None:
    world.cloud.refusals["small"] = "InsufficientInstanceCapacity"
    async with world.controller() as fleet:
        first = await fleet.claim(pod("one"))
        second = await fleet.claim(pod("two"))

        assert first.offer is not None
        assert second.offer is not None
        assert {first.offer.shape.type, second.offer.shape.type} == {"medium"}
        asked = world.cloud.requests[-1].offers
        assert "small" not in {offer.shape.type for offer in asked}, "a refused offer is left alone for a while"


async def test_without_capacity_the_claim_says_so_and_nothing_is_left(world: World) -> None:
    for size in ("small", "medium", "large"):
        world.cloud.refusals[size] = "InsufficientInstanceCapacity"
    async with world.controller() as fleet:
        fault = await failing(fleet.claim(pod("web")))
        await until(lambda: not fleet.list())

        assert fault.kind is Kind.NO_CAPACITY
        assert world.cloud.known == {}


async def test_an_impossible_size_names_the_demand_that_no_type_meets(world: World) -> None:
    async with world.controller() as fleet:
        fault = await failing(fleet.claim(pod("web", demand=Demand(cpu_millis=64_000, memory_mib=100))))

        assert fault.kind is Kind.INVALID
        assert "64000m CPU" in str(fault)


async def test_a_reservation_chooses_its_own_type_and_zone(world: World) -> None:
    world.cloud.reservations = {"cr-1": Reserved(type="large", zone="a"), "cr-2": Reserved(type="small", zone="a")}
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("p", capacity_reservation="cr-1"))
        assert cell.offer is not None
        assert cell.offer.shape.type == "large", "though there are cheaper ones that fit"
        with pytest.raises(Fault, match="memory"):
            await fleet.claim(pod("q", demand=Demand(cpu_millis=100, memory_mib=700), capacity_reservation="cr-2"))


async def test_an_unknown_wish_is_refused_by_name(world: World) -> None:
    async with world.controller() as fleet:
        fault = await failing(fleet.claim(pod("web", instance_typ="small")))

        assert "chinampa.dev/instance-typ" in str(fault)
        assert fleet.list() == ()


async def test_a_missing_right_is_told_and_not_tried_for_ever(world: World) -> None:
    world.cloud.refusals["small"] = "UnauthorizedOperation"
    async with world.controller() as fleet:
        fault = await failing(fleet.claim(pod("web")))

        assert fault.kind is Kind.DENIED
        assert len(world.cloud.requests) == 1


async def test_a_throttled_launch_is_repeated_with_its_token(world: World) -> None:
    world.cloud.refusals["small"] = "RequestLimitExceeded"
    async with world.controller() as fleet, asyncio.TaskGroup() as tasks:
        claim = tasks.create_task(fleet.claim(pod("web")))
        await until(lambda: len(world.cloud.requests) > 2)
        assert "RequestLimitExceeded" in fleet.list()[0].reason
        world.cloud.refusals.clear()
        await claim

        assert len({request.client_token for request in world.cloud.requests}) == 1
        assert len({request.user_data for request in world.cloud.requests}) == 1


async def test_a_silent_cell_is_lost_and_its_instance_ended(world: World) -> None:
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


async def test_an_instance_that_ends_by_itself_loses_its_cell_at_once(world: World) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        assert cell.instance is not None
        world.cloud.end(cell.instance, "Client.InstanceInitiatedShutdown")
        await until(lambda: fleet.get(cell.name) is None, 1.0)

        again = await fleet.claim(pod("web"))
        assert again.name != cell.name


async def test_a_restarted_controller_keeps_its_cells_and_waits_for_them_to_redial(world: World) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
    async with world.controller() as fleet:
        (known,) = fleet.list()
        assert (known.name, known.state) == (cell.name, CellState.CLAIMED)
        again = await fleet.claim(pod("web"))

        assert again.name == cell.name
        assert len(world.cloud.known) == 1


async def test_an_orphan_is_ended_after_two_lists_and_the_grace_and_not_before(world: World) -> None:
    async with world.controller() as fleet:
        await fleet.claim(pod("web"))
    (world.folder / "store.db").unlink()
    async with world.controller():
        assert len(world.cloud.alive()) == 1
        await asyncio.sleep(0.2)
        assert len(world.cloud.alive()) == 1
        await until(lambda: not world.cloud.alive(), 3.0)


async def test_an_instance_joins_once_and_only_with_its_token(world: World) -> None:
    async with world.controller() as fleet:
        cell = await fleet.claim(pod("web"))
        assert cell.instance is not None
        token = parse(world.cloud.requests[0].user_data).token
        identity = world.cloud.identity(cell.instance)
        faults = [await failing(fleet.admit(each, identity)) for each in (token, "0" * 64)]

        assert [fault.reason for fault in faults] == ["JoinedBefore", "WrongToken"]
        assert token not in str(cell)


async def test_warm_cells_are_kept_and_given_to_the_first_pod_that_fits(world: World) -> None:
    settings = FleetSettings(limits=LIMITS, survey=0.1, standby=PoolSettings(classes=(WARM,)))
    async with world.controller(settings) as fleet:
        await until(lambda: len([cell for cell in fleet.list() if cell.connected]) == 2)
        warm = {cell.name for cell in fleet.list()}
        cell = await fleet.claim(pod("web"))
        big = await fleet.claim(pod("big", demand=Demand(cpu_millis=3000, memory_mib=400)))

        assert cell.name in warm
        assert big.name not in warm
        await until(lambda: len([cell for cell in fleet.list() if cell.claim is None]) == 2)


async def test_a_warm_cell_that_stood_by_for_longer_than_a_claim_may_wait_is_handed_to_its_pod(world: World) -> None:
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


async def test_many_cells_that_fall_silent_at_once_are_kept_until_the_cloud_says_that_one_is_gone(world: World) -> None:
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


async def test_hits_and_misses_of_the_pool_are_counted_for_the_class_that_would_have_done(world: World) -> None:
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
    world: World, monkeypatch: pytest.MonkeyPatch
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


async def test_want_of_capacity_for_one_class_leaves_the_others_alone(world: World) -> None:
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


async def test_warm_cells_of_an_older_agent_are_replaced_and_the_pool_is_never_empty(world: World) -> None:
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


async def test_the_bound_in_money_holds_for_all_warm_cells_together(world: World) -> None:
    standby = PoolSettings(classes=(WARM,), max_usd_hour=0.015)
    async with world.controller(FleetSettings(limits=LIMITS, survey=0.1, standby=standby)) as fleet:
        await until(lambda: fleet.pool()[0].ready == 1)
        await asyncio.sleep(0.2)

        assert len(fleet.list()) == 1


async def test_a_later_attempt_takes_over_from_one_that_was_never_handed_over(world: World) -> None:
    world.refuse_joins = True
    async with world.controller() as fleet:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await fleet.claim(pod("web", attempt=0))
        world.refuse_joins = False
        cell = await fleet.claim(pod("web", attempt=1))
        await until(lambda: [each.name for each in fleet.list()] == [cell.name])

        assert len(world.cloud.alive()) == 1


async def test_what_happens_on_a_cell_is_told_and_its_stages_are_kept(world: World) -> None:
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


def warned(cell: Cell, kind: NoticeKind = NoticeKind.INTERRUPTION, *, ends: bool = True) -> Notice:
    assert cell.instance is not None
    return Notice(instance=cell.instance, kind=kind, at=time.time() + 120, message="taken", ends=ends)


async def test_a_pod_whose_instance_will_be_taken_is_told_and_gets_its_next_cell_meanwhile(world: World) -> None:
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


async def test_a_recommendation_is_only_told_and_moves_the_pod_where_the_settings_say_so(world: World) -> None:
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


async def test_a_warm_cell_whose_instance_will_end_is_replaced_at_once(world: World) -> None:
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


async def test_a_claim_that_waits_for_a_cell_whose_instance_will_be_taken_gets_another(world: World) -> None:
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


async def test_a_notice_that_is_faster_than_the_answer_to_a_launch_is_not_lost(world: World) -> None:
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


async def test_notices_of_other_peoples_instances_make_nobody_look_at_ours(world: World) -> None:
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


async def test_who_claims_the_pod_of_another_gets_its_cell_not_nor_ends_it(world: World) -> None:
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
