"""A cell whose plan fails is tried later and later; a cell that is gone leaves nothing but those who still wait."""

from __future__ import annotations

import asyncio
import time

import pytest

from cellwire.faults import Fault, Kind
from controller.fleet.cell_store import CellStore
from controller.fleet.executor import Executor, LaunchFacts
from controller.fleet.plan import CellAction, End, FleetLimits
from controller.fleet.pool.keeper import Pool, PoolSettings
from controller.fleet.pool.warm_cells import Versions
from controller.fleet.reconciler import Reconciler
from controller.fleet.work_item import WorkItem
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.model.offer import Demand
from tests.support.fake_cloud import FakeCloud
from tests.support.memory_store import MemoryStore
from tests.support.waiting import until

NAME = CellName("c-1")


def test_the_wait_after_a_failure_doubles_up_to_a_bound_and_a_success_makes_it_short_again() -> None:
    item = WorkItem()
    assert [item.failed(100.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert item.not_before == 130.0
    item.backoff = 0.0
    assert item.failed(200.0) == 0.5


def test_what_is_left_of_a_cell_that_is_gone_is_who_waits_for_it() -> None:
    item = WorkItem(missing_since=1.0, terminated_at=2.0, dirty=True, backoff=4.0, callers=1)
    left = item.without_cell()
    assert (left, left.idle) == (WorkItem(callers=1), False)


async def test_what_failed_is_tried_again_soon_although_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    back, tries, done = 0.0, 0, asyncio.Event()

    async def carry_out(name: CellName, action: CellAction) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Fault(Kind.UNAVAILABLE, "cloud", "it does not answer")
        done.set()

    def clock() -> float:
        return time.monotonic() - back

    async with asyncio.TaskGroup() as tasks:
        store, cloud = MemoryStore(), FakeCloud()
        book = CellStore(store, tasks, clock)
        home = LaunchFacts("test", lambda: ("10.0.0.1:1",), lambda: "sha256:" + "0" * 64, dict)
        act = Executor(book, cloud, home, b"secret", clock, store.check_lead)
        pool = Pool(PoolSettings(), store, act.buyable, Versions, clock)
        reconciler = Reconciler(book, cloud, act, FleetLimits(), pool, clock, tasks)
        monkeypatch.setattr(reconciler, "_next", lambda name: None if done.is_set() else End(name))
        monkeypatch.setattr(reconciler, "carry_out", carry_out)
        await book.add(
            Cell(
                name=NAME,
                state=CellState.CLAIMED,
                demand=Demand(cpu_millis=100, memory_mib=100),
                created_at=0.0,
                changed_at=0.0,
            )
        )
        reconciler.wake(NAME)
        await until(lambda: reconciler.item(NAME).backoff > 0)
        back = 3600.0
        async with asyncio.timeout(10):
            await done.wait()
