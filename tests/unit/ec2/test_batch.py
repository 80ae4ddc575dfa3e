"""One call for many, and what becomes of callers that give up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.batcher import Batcher


class Work:
    """Answers with the item doubled; `gate` holds it back."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[str]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.fault: Fault | None = None

    async def __call__(self, group: str, items: Mapping[str, int]) -> dict[str, int]:
        self.batches.append((group, sorted(items)))
        self.begun.set()
        await self.gate.wait()
        if self.fault:
            raise self.fault
        return {key: item * 2 for key, item in items.items()}


async def test_what_is_asked_within_a_moment_is_one_batch_and_each_gets_its_own() -> None:
    work = Work()
    async with asyncio.TaskGroup() as tasks:
        batcher = Batcher(tasks, work, 0.01, 1.0, 100)
        asked = [tasks.create_task(batcher.ask("g", {str(number): number})) for number in range(50)]
    assert [task.result() for task in asked] == [{str(number): number * 2} for number in range(50)]
    assert len(work.batches) == 1


async def test_groups_do_not_mix_and_a_full_window_is_followed_by_another() -> None:
    work = Work()
    async with asyncio.TaskGroup() as tasks:
        batcher = Batcher(tasks, work, 0.01, 1.0, 10)
        for number in range(25):
            tasks.create_task(batcher.ask("ab"[number % 2], {str(number): number}))
    assert sorted(len(items) for _, items in work.batches) == [2, 3, 10, 10]
    assert all(len({int(item) % 2 for item in items}) == 1 for _, items in work.batches)


async def test_the_same_thing_asked_for_while_it_is_under_way_is_not_done_twice() -> None:
    work = Work()
    work.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        batcher = Batcher(tasks, work, 0.0, 1.0, 10)
        first = tasks.create_task(batcher.ask("a", {"x": 1}))
        await work.begun.wait()
        second = tasks.create_task(batcher.ask("b", {"x": 1}))
        await asyncio.sleep(0)
        work.gate.set()
    assert first.result() == second.result() == {"x": 2}
    assert len(work.batches) == 1


async def test_a_caller_that_gives_up_does_not_end_the_others_batch() -> None:
    work = Work()
    work.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        batcher = Batcher(tasks, work, 0.0, 1.0, 10)
        hasty = tasks.create_task(batcher.ask("a", {"x": 1}))
        patient = tasks.create_task(batcher.ask("a", {"y": 2}))
        await work.begun.wait()
        hasty.cancel()
        await asyncio.sleep(0)
        work.gate.set()
    assert hasty.cancelled()
    assert patient.result() == {"y": 4}


async def test_what_all_gave_up_before_it_was_sent_is_not_sent() -> None:
    work = Work()
    async with asyncio.TaskGroup() as tasks:
        batcher = Batcher(tasks, work, 0.02, 1.0, 10)
        hasty = tasks.create_task(batcher.ask("a", {"x": 1}))
        await asyncio.sleep(0)
        hasty.cancel()
    assert not work.batches


async def test_a_fault_is_told_to_each_and_the_next_batch_goes() -> None:
    work = Work()
    work.fault = Fault(Kind.DENIED, "it", "no")
    async with asyncio.TaskGroup() as tasks:
        batcher = Batcher(tasks, work, 0.0, 1.0, 10)

        async def refused(key: str) -> None:
            with pytest.raises(Fault, match="it: no"):
                await batcher.ask("a", {key: 1})

        async with asyncio.TaskGroup() as askers:
            askers.create_task(refused("x"))
            askers.create_task(refused("y"))
        work.fault = None
        assert await batcher.ask("a", {"x": 1}) == {"x": 2}


async def test_when_the_room_closes_those_who_wait_are_told_and_not_cancelled() -> None:
    work = Work()
    work.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        batcher = Batcher(tasks, work, 0.0, 1.0, 10)

        async def waits() -> None:
            with pytest.raises(Fault) as raised:
                await batcher.ask("a", {"x": 1})
            assert raised.value.kind is Kind.UNAVAILABLE

        tasks.create_task(waits())
        await work.begun.wait()
        batcher.close()
