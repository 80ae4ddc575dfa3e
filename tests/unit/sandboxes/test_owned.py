"""Owned work ends when its owner does, whatever goes wrong in it at that moment."""

from __future__ import annotations

import asyncio

import pytest

from cellwire.faults import Fault, Kind
from controller.sandboxes.owned import Supervisor


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), Fault(Kind.UNREACHABLE, "cell c", "is gone")])
async def test_work_in_which_a_task_fails_while_it_is_cancelled_is_not_begun_anew(failure: Exception) -> None:
    begun = 0

    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise failure from None

    async def work() -> None:
        nonlocal begun
        begun += 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(failing())

    task = asyncio.get_running_loop().create_task(Supervisor().persist("pod", "p", work))
    while not begun:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([task])
    assert task.cancelled()
    assert begun == 1
