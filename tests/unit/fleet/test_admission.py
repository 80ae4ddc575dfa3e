"""An instance that asks to join: before its launch is written down, after it, and beside many others."""

from __future__ import annotations

import asyncio

import pytest

from cellwire.faults import Fault, Kind
from controller.fleet import joining, launch_parameters
from controller.fleet.cell_store import CellStore
from controller.fleet.joining import Admittance
from controller.link.join_checks import token_hash
from controller.model.cell import Cell, CellState
from controller.model.instance import Identity
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand
from controller.model.transitions import Launched, Launching, LaunchRefused, Retired
from tests.support.memory_store import MemoryStore

MANY = 60
DEMAND = Demand(cpu_millis=100, memory_mib=128)
SECRET = b"secret"
NOW = 1000.0
LATER = NOW + launch_parameters.GROUP_SECONDS


class Counted(CellStore):
    """Counts how often somebody looks for the cell of an instance."""

    looks = 0

    def of_instance(self, instance: InstanceId) -> Cell | None:
        self.looks += 1
        return super().of_instance(instance)


def token(at: float = NOW) -> str:
    """The join token of all cells that are launched at this moment."""
    cell = Cell(name=CellName("c-any"), state=CellState.REQUESTED, demand=DEMAND)
    return launch_parameters.join_token(SECRET, launch_parameters.client_token(cell, at))


async def launching(book: CellStore, number: int, at: float = NOW) -> CellName:
    cell = await book.add(Cell(name=CellName(f"c-{number}"), state=CellState.REQUESTED, demand=DEMAND))
    await launch(book, cell, at)
    return cell.name


async def launch(book: CellStore, cell: Cell, at: float) -> None:
    """As the executor writes it down before it asks the cloud."""
    asked = launch_parameters.client_token(cell, at)
    hashed = token_hash(launch_parameters.join_token(SECRET, asked))
    await book.change(cell.name, Launching(client_token=asked, join_token_hash=hashed))


def identity(number: int) -> Identity:
    return Identity(instance=InstanceId(f"i-{number}"), account="1", region="r", zone="z", type="t", address="")


def launched(number: int) -> Launched:
    return Launched(instance=InstanceId(f"i-{number}"))


async def test_many_that_ask_before_their_launches_are_written_down_join_and_look_for_their_own_only() -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        book = Counted(MemoryStore(), tasks, lambda: NOW)
        admittance = Admittance(book, (), 5.0, lambda: NOW)
        names = [await launching(book, number) for number in range(MANY)]
        asking = [tasks.create_task(admittance.admit(token(), "key", identity(number))) for number in range(MANY)]
        await asyncio.sleep(0)
        for number in reversed(range(MANY)):
            await book.change(names[number], launched(number))

    assert [one.result().cell for one in asking] == names
    assert book.looks <= 5 * MANY, "a change of one cell wakes who waits for it, not all"


async def test_each_of_two_launched_together_joins_whichever_launch_is_written_down_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joining, "PATIENCE", 3600.0)
    for order in ((1, 2), (2, 1)):
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            book = CellStore(MemoryStore(), tasks, lambda: NOW)
            admittance = Admittance(book, (), 5.0, lambda: NOW)
            names = {number: await launching(book, number) for number in (1, 2)}
            asking = {n: tasks.create_task(admittance.admit(token(), "key", identity(n))) for n in order}
            await asyncio.sleep(0)
            for number in order:
                # It joins while the other, of the same token, may still be launched.
                await book.change(names[number], launched(number))
                assert (await asking[number]).cell == names[number]


async def test_one_whose_launch_is_written_down_joins_at_once_while_others_of_its_token_are_launched() -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: NOW)
        first, _ = await launching(book, 1), await launching(book, 2)
        await book.change(first, launched(1))
        assert (await Admittance(book, (), 5.0, lambda: NOW).admit(token(), "key", identity(1))).cell == first


async def test_one_that_waits_is_asked_to_come_again_while_any_launch_with_its_token_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joining, "PATIENCE", 0.0)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: NOW)
        admittance = Admittance(book, (), 5.0, lambda: NOW)
        first, second, third = [await launching(book, number) for number in (1, 2, 3)]
        ends = ((first, launched(1)), (third, LaunchRefused("no capacity")), (second, Retired("nobody needs it")))
        for name, end in ends:
            with pytest.raises(Fault) as told:
                await admittance.admit(token(), "key", identity(9))
            assert told.value.kind is Kind.UNAVAILABLE
            await book.change(name, end)
        with pytest.raises(Fault, match="no cell was launched on it"):
            await admittance.admit(token(), "key", identity(9))


async def test_an_instance_of_no_launch_is_refused_at_once() -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: NOW)
        await launching(book, 1)
        with pytest.raises(Fault, match="no cell was launched on it"):
            await Admittance(book, (), 5.0, lambda: NOW).admit(token(LATER), "key", identity(2))


async def test_one_that_waits_is_refused_once_its_launch_was_another_instance() -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: NOW)
        name = await launching(book, 1)
        asking = asyncio.get_running_loop().create_task(
            Admittance(book, (), 5.0, lambda: NOW).admit(token(), "key", identity(9))
        )
        await asyncio.sleep(0)
        await book.change(name, launched(1))
        with pytest.raises(Fault, match="no cell was launched on it"):
            await asking


async def test_a_token_of_a_launch_that_was_refused_opens_nothing() -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: NOW)
        name = await launching(book, 1)
        await launch(book, await book.change(name, LaunchRefused("no capacity")), LATER)
        with pytest.raises(Fault, match="no cell was launched on it"):
            await Admittance(book, (), 5.0, lambda: NOW).admit(token(), "key", identity(1))


async def test_tokens_of_launches_are_known_again_after_a_start() -> None:
    store = MemoryStore()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        name = await launching(CellStore(store, tasks, lambda: NOW), 1)
        book = CellStore(store, tasks, lambda: NOW)
        await book.load()
        asking = tasks.create_task(Admittance(book, (), 5.0, lambda: NOW).admit(token(), "key", identity(1)))
        await asyncio.sleep(0)
        await book.change(name, launched(1))

    assert asking.result().cell == name


async def test_one_whose_answer_a_controllers_end_has_cut_off_gets_it_from_the_next_by_its_key_alone() -> None:
    store = MemoryStore()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        before = CellStore(store, tasks, lambda: NOW)
        name = await launching(before, 1)
        await before.change(name, launched(1))
        await Admittance(before, (), 5.0, lambda: NOW).admit(token(), "key", identity(1))
        book = CellStore(store, tasks, lambda: NOW)
        await book.load()
        admittance = Admittance(book, (), 5.0, lambda: NOW)
        with pytest.raises(Fault, match="an instance joins once"):
            await admittance.admit(token(), "another", identity(1))
        assert (await admittance.admit(token(), "key", identity(1))).cell == name


async def test_a_controller_that_may_lead_no_more_refuses_nobody_for_good() -> None:
    class Deposed(MemoryStore):
        def check_lead(self) -> None:
            raise Fault(Kind.UNAVAILABLE, "lead", "another has it", reason="LeadLost")

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        admittance = Admittance(CellStore(Deposed(), tasks, lambda: NOW), (), 5.0, lambda: NOW)
        with pytest.raises(Fault) as joining_told:
            await admittance.admit(token(), "key", identity(1))
        with pytest.raises(Fault) as renewing_told:
            admittance.renewable(CellName("c-1"), InstanceId("i-1"))
    # An instance that is denied ends; one that is told to ask again asks whoever leads.
    assert {joining_told.value.kind, renewing_told.value.kind} == {Kind.UNAVAILABLE}
