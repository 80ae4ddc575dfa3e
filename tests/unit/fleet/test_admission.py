"""An instance that asks to join: before its launch is written down, after it, and beside many others."""

from __future__ import annotations

import asyncio

import pytest

from cellwire.faults import Fault
from controller.fleet.cell_store import CellStore
from controller.fleet.joining import Admittance
from controller.link.join_checks import token_hash
from controller.model.cell import Cell, CellState
from controller.model.instance import Identity
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand
from controller.model.transitions import Launched, Launching, LaunchRefused
from tests.support.memory_store import MemoryStore

MANY = 60


class Counted(CellStore):
    """Counts how often somebody looks for the cell of an instance."""

    looks = 0

    def of_instance(self, instance: InstanceId) -> Cell | None:
        self.looks += 1
        return super().of_instance(instance)


async def launching(book: CellStore, number: int) -> CellName:
    name = CellName(f"c-{number}")
    demand = Demand(cpu_millis=100, memory_mib=128)
    await book.add(Cell(name=name, state=CellState.REQUESTED, demand=demand))
    await book.change(name, Launching(client_token=f"client-{number}", join_token_hash=token_hash(f"token-{number}")))
    return name


def identity(number: int) -> Identity:
    return Identity(instance=InstanceId(f"i-{number}"), account="1", region="r", zone="z", type="t", address="")


def launched(number: int) -> Launched:
    return Launched(instance=InstanceId(f"i-{number}"))


async def test_many_that_ask_before_their_launches_are_written_down_join_and_look_for_their_own_only() -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        book = Counted(MemoryStore(), tasks, lambda: 1000.0)
        admittance = Admittance(book, (), 5.0, lambda: 1000.0)
        names = [await launching(book, number) for number in range(MANY)]
        joining = [tasks.create_task(admittance.admit(f"token-{number}", identity(number))) for number in range(MANY)]
        await asyncio.sleep(0)
        for number in reversed(range(MANY)):
            await book.change(names[number], launched(number))

    assert [one.result().cell for one in joining] == names
    assert book.looks <= 5 * MANY, "a change of one cell wakes who waits for it, not all"


async def test_an_instance_of_no_launch_is_refused_at_once() -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: 1000.0)
        await launching(book, 1)
        with pytest.raises(Fault, match="no cell was launched on it"):
            await Admittance(book, (), 5.0, lambda: 1000.0).admit("token-2", identity(2))


async def test_one_that_waits_is_refused_once_its_launch_was_another_instance() -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: 1000.0)
        name = await launching(book, 1)
        joining = asyncio.get_running_loop().create_task(
            Admittance(book, (), 5.0, lambda: 1000.0).admit("token-1", identity(9))
        )
        await asyncio.sleep(0)
        await book.change(name, launched(1))
        with pytest.raises(Fault, match="no cell was launched on it"):
            await joining


async def test_a_token_of_a_launch_that_was_refused_opens_nothing() -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: 1000.0)
        name = await launching(book, 1)
        await book.change(name, LaunchRefused("no capacity"))
        await book.change(name, Launching(client_token="again", join_token_hash=token_hash("another")))
        assert book.launching(token_hash("token-1")) is None
        with pytest.raises(Fault, match="no cell was launched on it"):
            await Admittance(book, (), 5.0, lambda: 1000.0).admit("token-1", identity(1))


async def test_tokens_of_launches_are_known_again_after_a_start() -> None:
    store = MemoryStore()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        name = await launching(CellStore(store, tasks, lambda: 1000.0), 1)
        book = CellStore(store, tasks, lambda: 1000.0)
        await book.load()
        joining = tasks.create_task(Admittance(book, (), 5.0, lambda: 1000.0).admit("token-1", identity(1)))
        await asyncio.sleep(0)
        await book.change(name, launched(1))

    assert joining.result().cell == name
