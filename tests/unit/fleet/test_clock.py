"""A controller's clock that was ahead: what was written meanwhile keeps no limit of a cell from running out."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.clouds.protocol import Notice
from controller.fleet.plan import FleetLimits
from controller.fleet.reconciler import PASS_SECONDS
from controller.model.cell import Cell, CellState, NoticeKind, known_by
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.model.transitions import Claimed
from tests.support.fleet_life import life, state
from tests.support.memory_store import MemoryStore

T, HOUR = 10_000.0, 3600.0
NAME = CellName("c-1")
DEMAND = Demand(cpu_millis=100, memory_mib=100)
LIMITS = FleetLimits()
# Of a cell that may have dialled in vain, with the pass that sees it and the one that gives it up.
LATEST = LIMITS.lease + LIMITS.redial + 3 * PASS_SECONDS


def cell(at: float, *, heard: float = 0.0, state: CellState = CellState.CLAIMED) -> Cell:
    return Cell(
        name=NAME,
        state=state,
        moments={"launching": at},
        demand=DEMAND,
        claim=PodClaim(pod=PodRef(uid=PodUid("u"), namespace="default", name="web"), demand=DEMAND),
        instance=InstanceId("i-1"),
        created_at=at,
        changed_at=at,
        assigned_at=at,
        last_heartbeat=heard,
    )


class SlowStore(MemoryStore):
    """Takes its time, when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.asked, self.go_on = False, asyncio.Event(), asyncio.Event()

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if self.slow:
            self.asked.set()
            await self.go_on.wait()
        return await super().put(kind, key, value, expected=expected)


@pytest.mark.parametrize("listed", [False, True])
async def test_a_cell_that_fell_silent_while_the_clock_was_ahead_is_lost_after_its_lease(listed: bool) -> None:
    async with life(MemoryStore(), T + HOUR) as one:
        await one.book.add(cell(one.now, heard=one.now))
        await one.passes(10)
        if listed:
            await one.reconciler.resync()
        one.now = T
        await one.passes(LIMITS.lease + LIMITS.redial - 2 * PASS_SECONDS)
        assert state(one, NAME) is CellState.CLAIMED, "it may wait before it dials again"
        await one.passes(LATEST)
        assert state(one, NAME) is CellState.LOST


@pytest.mark.parametrize("loaded_at", [T, T + HOUR], ids=["right at the start", "set back before the first look"])
async def test_a_cell_that_was_written_while_the_clock_was_ahead_is_lost_after_its_lease_by_the_next_life(
    loaded_at: float,
) -> None:
    store = MemoryStore()
    async with life(store, T + HOUR) as before:
        await before.book.add(cell(before.now))
    async with life(store, loaded_at) as after:
        after.now = T
        often = asyncio.create_task(after.reconciler.pass_often(lambda request: None))
        for _ in range(10):
            await asyncio.sleep(0)
        often.cancel()
        await after.passes(10)
        assert state(after, NAME) is CellState.CLAIMED
        await after.passes(LATEST)
        assert state(after, NAME) is CellState.LOST


async def test_a_change_that_is_under_way_while_the_clock_is_set_back_is_known_by_then() -> None:
    store = SlowStore()
    async with life(store, T + HOUR) as one:
        await one.book.add(cell(one.now, state=CellState.READY))
        store.slow = True
        changing = asyncio.create_task(one.book.change(NAME, Claimed()))
        await store.asked.wait()
        one.now = T
        await one.passes(2)
        store.go_on.set()
        assert (await changing).changed_at <= one.now


async def test_a_list_that_is_under_way_while_the_clock_is_set_back_is_of_now() -> None:
    async with life(MemoryStore(), T + HOUR) as one:
        await one.book.add(cell(one.now))

        def set_back(call: str) -> None:
            one.now = T
            one.reconciler._listen(one.now)  # as a pass does meanwhile

        one.cloud.before = set_back
        await one.reconciler.resync()
        assert one.reconciler.seen(NAME).listed_at <= one.now


async def test_who_dialled_in_vain_while_the_clock_was_ahead_keeps_no_lease_from_running_out() -> None:
    async with life(MemoryStore(), T + HOUR) as one:
        await one.book.add(cell(one.now, heard=one.now))
        await one.passes(10)
        one.reconciler.crowded()
        one.now = T
        await one.passes(LATEST)
        assert state(one, NAME) is CellState.LOST


async def test_an_instance_that_is_on_no_list_is_missed_also_by_who_missed_it_while_the_clock_was_ahead() -> None:
    async with life(MemoryStore(), T + HOUR) as one:
        await one.book.add(cell(one.now - 1))
        await one.reconciler.resync()
        one.now = T
        await one.passes(4)
        assert one.reconciler.seen(NAME).missing_since <= one.now


async def test_a_status_check_that_failed_while_the_clock_was_ahead_is_of_now() -> None:
    async with life(MemoryStore(), T + HOUR) as one:
        await one.book.add(cell(one.now))
        await one.passes(1)
        heeding = asyncio.create_task(one.reconciler.notices.heed(lambda: None))
        words = Notice(instance=InstanceId("i-1"), kind=NoticeKind.STATE_CHANGE, at=0.0, message="", impaired=True)
        one.cloud.told.put_nowait(words)
        for _ in range(10):
            await asyncio.sleep(0)
        heeding.cancel()
        assert one.reconciler.seen(NAME).impaired_at > T
        one.now = T
        await one.passes(1)
        assert one.reconciler.seen(NAME).impaired_at == T


@given(at=st.floats(0, 2 * T), heard=st.floats(0, 2 * T), now=st.floats(0, 2 * T))
def test_nothing_is_known_of_a_cell_from_times_to_come(at: float, heard: float, now: float) -> None:
    before = cell(at, heard=heard)
    after = known_by(before, now)
    assert max(after.created_at, after.changed_at, after.assigned_at, after.last_heartbeat) <= now
    assert after.moments["launching"] <= now
    assert known_by(after, now) is after
    assert max(at, heard) > now or after is before
