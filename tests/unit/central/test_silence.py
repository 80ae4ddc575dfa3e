"""When a worker has been silent for too long, and when the silence was ours."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import cast

import pytest

from controller.central import lost_workers
from controller.central.lost_workers import PAUSE, WorkerSilence
from controller.central.worker_registry import WorkerRegistry
from controller.fleet.cell_store import CellStore
from controller.fleet.cells import Cells
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.model.transitions import Retired
from tests.support.memory_store import MemoryStore

LEASE = 100.0
START = 1000.0


class Fleet:
    """Of a fleet what is asked here."""

    def __init__(self, book: CellStore) -> None:
        self.list = book.all
        self._book = book

    async def release(self, name: CellName, reason: str) -> None:
        await self._book.change(name, Retired(reason))


def claimed(name: str, worker: str) -> Cell:
    demand = Demand(cpu_millis=100, memory_mib=128)
    pod = PodRef(uid=PodUid(name), namespace="default", name=name)
    claim = PodClaim(pod=pod, demand=demand, by=f"shim@{worker}" if worker else "pods")
    return Cell(name=CellName(name), state=CellState.CLAIMED, demand=demand, claim=claim)


class Heard:
    """Looks each ten seconds of a clock that a test moves."""

    def __init__(self) -> None:
        self.now = START
        self.at: defaultdict[str, float] = defaultdict(lambda: START)
        self.listening = WorkerSilence(lambda worker: self.at[worker], LEASE, START)

    def looks(self, seconds: float, *talking: str, wall: float = 0.0) -> list[str]:
        found = list[str]()
        until = self.now + seconds
        while self.now < until:
            self.now += 10
            self.at.update(dict.fromkeys(talking, self.now + wall))
            found = self.listening.silent(["b", "a", "a"], self.now)
        return found


def test_a_worker_is_silent_after_a_lease_and_another_that_talks_is_not() -> None:
    heard = Heard()
    heard.looks(10)
    assert heard.looks(LEASE, "b") == []
    assert heard.looks(10, "b") == ["a"]
    assert heard.looks(LEASE) == ["a"]
    assert heard.looks(10) == ["a", "b"]


def test_our_own_pause_is_no_silence_of_workers() -> None:
    heard = Heard()
    heard.looks(LEASE)
    heard.now += PAUSE
    assert heard.looks(LEASE) == []
    assert heard.looks(20) == ["a", "b"], "a lease after it they are"


def test_a_wall_clock_that_was_set_makes_nobody_silent_and_nobody_heard() -> None:
    heard = Heard()
    heard.looks(50, "a", "b")
    heard.looks(50, "a", "b", wall=-50_000.0)
    heard.looks(50, "a", wall=50_000.0)
    assert heard.looks(50, "a", wall=50_000.0) == []
    assert heard.looks(10, "a", wall=50_000.0) == ["b"]


async def test_cells_of_the_silent_are_retired_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_workers, "LOOK_EVERY", 0.0)
    now = START

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        store = MemoryStore()
        book = CellStore(store, tasks, lambda: now)
        registry = WorkerRegistry(store, lambda: now)
        token = await registry.issue("talks", 60)
        assert await registry.join(token, "key") == "talks"
        for name, worker in (("c-1", "gone"), ("c-2", "talks"), ("c-3", "")):
            await book.add(claimed(name, worker))
        async with lost_workers.running(cast("Cells", Fleet(book)), registry, LEASE, clock):
            while {cell.state for cell in book.all()} == {CellState.CLAIMED}:
                registry.check("talks", "key")
                await asyncio.sleep(0)
        states = {cell.name: (cell.state, cell.reason) for cell in book.all()}

    assert states == {
        "c-1": (CellState.RETIRING, "its worker gone has been silent for 100 s"),
        "c-2": (CellState.CLAIMED, ""),
        "c-3": (CellState.CLAIMED, ""),
    }


async def test_nothing_is_remembered_of_when_a_worker_that_was_revoked_was_heard() -> None:
    now = START
    registry = WorkerRegistry(MemoryStore(), lambda: now)
    await registry.join(await registry.issue("node-1", 60.0), "key")
    now += 10
    registry.check("node-1", "key")
    assert registry.heard_at("node-1") == now
    await registry.revoke("node-1")
    assert registry.heard_at("node-1") == START
