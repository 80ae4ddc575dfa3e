"""What is found of cells without looking at all of them, through their lives."""

from __future__ import annotations

import asyncio

from controller.fleet.cell_store import CellStore
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.model.transitions import Assigned, Retired
from tests.support.memory_store import MemoryStore

DEMAND = Demand(cpu_millis=1, memory_mib=1)


def claim(attempt: int) -> PodClaim:
    pod = PodRef(uid=PodUid("u-1"), namespace="default", name="web", attempt=attempt)
    return PodClaim(pod=pod, demand=DEMAND)


def cell(name: str, claimed: PodClaim | None = None) -> Cell:
    return Cell(name=CellName(name), state=CellState.REQUESTED, demand=DEMAND, claim=claimed)


def names(cells: tuple[Cell, ...]) -> set[str]:
    return {str(each.name) for each in cells}


async def test_a_warm_cell_is_nobodys_until_a_pod_has_it_and_then_among_those_of_the_pods_attempts() -> None:
    async with asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: 0.0)
        await book.add(cell("warm"))
        await book.add(cell("first", claim(0)))
        assert names(book.unclaimed()) == {"warm"}
        assert names(book.of_attempts(PodUid("u-1"))) == {"first"}
        await book.change(CellName("warm"), Assigned(claim(1)))
        assert names(book.unclaimed()) == set()
        assert names(book.of_attempts(PodUid("u-1"))) == {"first", "warm"}
        for name in ("first", "warm"):
            await book.change(CellName(name), Retired("over"))
        assert names(book.of_attempts(PodUid("u-1"))) == {"first", "warm"}
        for name in ("first", "warm"):
            await book.forget(CellName(name))
        assert book.of_attempts(PodUid("u-1")) == ()


async def test_cells_of_an_earlier_life_are_found_as_those_of_this_one_are() -> None:
    store = MemoryStore()
    async with asyncio.TaskGroup() as tasks:
        before = CellStore(store, tasks, lambda: 0.0)
        await before.add(cell("warm"))
        await before.add(cell("claimed", claim(0)))
        book = CellStore(store, tasks, lambda: 0.0)
        await book.load()
        assert names(book.unclaimed()) == {"warm"}
        assert names(book.of_attempts(PodUid("u-1"))) == {"claimed"}
