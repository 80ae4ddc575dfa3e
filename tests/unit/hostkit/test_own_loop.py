"""Work in a thread with a loop of its own: in time beside a busy loop, ended with who awaits it, its faults raised."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from hostkit.own_loop import beside


async def test_it_goes_on_while_the_loop_stands_still() -> None:
    turned = threading.Event()

    async def turn() -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)
        turned.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(beside(turn, "turns"))
        await asyncio.sleep(0)
        assert turned.wait(60), "this loop stands still here, and the other must turn"


async def test_what_it_raises_is_raised_where_it_is_awaited() -> None:
    async def fail() -> None:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await beside(fail, "fails")


async def test_cancelled_it_has_ended_when_the_caller_goes_on() -> None:
    told = list[str]()

    async def live() -> None:
        try:
            told.append("begun")
            await asyncio.Event().wait()
        finally:
            told.append("ended")

    task = asyncio.get_running_loop().create_task(beside(live, "lives"))
    while not told:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert told == ["begun", "ended"]
    assert "lives" not in {one.name for one in threading.enumerate()}


async def test_one_cancelled_before_it_began_leaves_no_thread() -> None:
    async def live() -> None:
        await asyncio.Event().wait()

    for _ in range(20):
        task = asyncio.get_running_loop().create_task(beside(live, "lives"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert "lives" not in {one.name for one in threading.enumerate()}


class Stuck:
    """A call that nothing stops, as the system's resolver's while no name server answers."""

    def __init__(self) -> None:
        self.begun, self.left = threading.Event(), threading.Event()
        self.over = False

    def __call__(self) -> None:
        self.begun.set()
        self.left.wait(20)
        self.over = True

    async def begin(self) -> asyncio.Future[None]:
        """Leave it in the executor of this loop, where it is at it."""
        call = asyncio.get_running_loop().run_in_executor(None, self)
        while not self.begun.is_set():
            await asyncio.sleep(0.01)
        return call


async def test_what_it_raises_is_told_while_a_call_of_it_hangs() -> None:
    stuck = Stuck()

    async def fail() -> None:
        await stuck.begin()
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await beside(fail, "fails")
    assert not stuck.over
    stuck.left.set()


async def test_cancelled_it_ends_while_a_call_of_it_hangs() -> None:
    stuck = Stuck()

    async def wait() -> None:
        await (await stuck.begin())

    task = asyncio.get_running_loop().create_task(beside(wait, "waits"))
    while not stuck.begun.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not stuck.over
    stuck.left.set()


async def test_the_loop_turns_while_what_was_cancelled_takes_its_time_and_a_second_time_changes_nothing() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), list[bool]()

    async def live() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(1000):
                if may_end.is_set():
                    break
                await asyncio.sleep(0.01)
            ended.append(True)

    task = asyncio.get_running_loop().create_task(beside(live, "lives"))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


async def test_it_shares_the_interpreter_with_a_loop_that_computes() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while turns < 20:
            await asyncio.sleep(0.01)
            turns += 1

    working = asyncio.get_running_loop().create_task(beside(turn, "turns"))
    await asyncio.sleep(0)
    bound = time.monotonic() + 60
    while turns < 20 and time.monotonic() < bound:
        sum(range(10_000))
    assert turns == 20, "this loop computes all the time, and the other must turn"
    await working
