"""An instance that never joins: what it said last is in the words with which its cell is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from controller.fleet import plan
from controller.fleet.cell_store import CellStore
from controller.fleet.executor import Executor, LaunchFacts
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand
from controller.store import sqlite
from tests.support.fake_cloud import FakeCloud

NAME = CellName("c-1")
SAID = "this instance cannot get its agent: no route to host; powering off"


class Consoling(FakeCloud):
    """A cloud that keeps consoles, or does not get at them."""

    def __init__(self, *, denied: bool = False) -> None:
        super().__init__()
        self._denied = denied

    async def console(self, instance: InstanceId) -> str:
        if self._denied:
            raise Fault(Kind.DENIED, "ec2 GetConsoleOutput", "UnauthorizedOperation")
        return SAID


async def lost(folder: Path, cloud: FakeCloud, state: CellState) -> str:
    """The reason of a cell in this state, once it is lost."""
    async with sqlite.running(folder / "store.db") as store, asyncio.TaskGroup() as tasks:
        book = CellStore(store, tasks, lambda: 1000.0)
        await book.load()
        demand = Demand(cpu_millis=100, memory_mib=128)
        await book.add(Cell(name=NAME, state=state, demand=demand, instance=InstanceId("i-1")))
        home = LaunchFacts("test", lambda: ("10.0.0.1:1",), lambda: "sha256:" + "0" * 64, dict)
        await Executor(book, cloud, home, b"secret", lambda: 1000.0, lambda: None).do(
            plan.Lose(NAME, "it did not join")
        )
        found = book.get(NAME)
        assert found is not None
        assert found.state is CellState.LOST
        return found.reason


async def test_the_last_words_of_an_instance_that_never_joined_are_in_the_reason(tmp_path: Path) -> None:
    assert await lost(tmp_path, Consoling(), CellState.BOOTING) == f"it did not join; its console ends: {SAID}"


@pytest.mark.parametrize(
    ("cloud", "state"),
    [
        (Consoling(denied=True), CellState.BOOTING),
        (FakeCloud(), CellState.BOOTING),
        (Consoling(), CellState.CLAIMED),  # one that had joined has told what there is to tell
    ],
)
async def test_where_there_is_no_console_or_no_need_of_one_the_reason_stays_as_it_was(
    tmp_path: Path, cloud: FakeCloud, state: CellState
) -> None:
    assert await lost(tmp_path, cloud, state) == "it did not join"
