from __future__ import annotations

import asyncio
import gc

import pytest

from cellwire.faults import Fault, Kind
from hostkit.tasks import Finishing, KeyedLocks, Singleflight


async def test_one_at_a_time_has_a_key_and_nothing_is_kept_of_keys_that_nobody_holds() -> None:
    locks = KeyedLocks[str]()
    there: list[str] = []
    most = 0

    async def hold(key: str) -> None:
        nonlocal most
        async with locks[key]:
            there.append(key)
            most = max(most, there.count("a"))
            await asyncio.sleep(0)
            there.remove(key)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(hold("a" if number % 2 else f"{number}"))
    gc.collect()
    assert (most, len(locks)) == (1, 0)


async def test_work_goes_on_when_its_caller_is_cancelled_and_is_told_to_who_stayed() -> None:
    may, done = asyncio.Event(), list[str]()

    async def work() -> str:
        await may.wait()
        done.append("once")
        return "made"

    async with asyncio.TaskGroup() as group:
        shared = Singleflight(group)
        first = group.create_task(shared.join("pod", work))
        second = group.create_task(shared.join("pod", work))
        await asyncio.sleep(0)
        first.cancel()
        may.set()
        assert await second == "made"
    assert done == ["once"]
    assert first.cancelled()


async def test_what_shared_work_raises_reaches_each_and_the_next_call_begins_anew() -> None:
    calls = list[int]()

    async def fail() -> None:
        calls.append(1)
        await asyncio.sleep(0)
        raise Fault(Kind.BROKEN, "pod", "it failed")

    async with asyncio.TaskGroup() as group:
        shared = Singleflight(group)
        for _ in range(2):
            with pytest.raises(Fault, match="it failed"):
                await shared.join("pod", fail)
    assert len(calls) == 2


async def test_a_write_is_finished_though_its_caller_left() -> None:
    may, written = asyncio.Event(), list[str]()

    async def write() -> None:
        await may.wait()
        written.append("record")

    async with asyncio.TaskGroup() as group:
        finishing = Finishing(group)
        caller = group.create_task(finishing.done(write()))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
        may.set()
    assert written == ["record"]


async def test_nobody_is_hurt_by_a_failure_that_nobody_waits_for() -> None:
    async def fail() -> None:
        raise Fault(Kind.BROKEN, "cell", "it failed")

    async with asyncio.TaskGroup() as group:
        Finishing(group).soon(fail())
