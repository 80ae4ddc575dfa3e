"""What a daemon says of its tasks when it is asked by a signal."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator

from cellwire import task_dump


async def deep(ready: asyncio.Event) -> None:
    async def deeper() -> AsyncIterator[int]:
        ready.set()
        await asyncio.Event().wait()
        yield 1

    async for _ in deeper():
        pass


async def test_each_task_is_told_with_its_name_and_the_way_to_what_it_waits_for() -> None:
    said, ready = io.StringIO(), asyncio.Event()
    with task_dump.told_on_signal(said):
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(deep(ready), name="the one that waits")
            await ready.wait()
            os.kill(os.getpid(), signal.SIGUSR1)
            while not said.getvalue():
                await asyncio.sleep(0)
            waiting.cancel()
    text = said.getvalue()
    assert text.startswith(f"{text.count(chr(10) + 'task ')} tasks\n")
    way = text.partition("task the one that waits\n")[2].partition("\ntask ")[0]
    assert way.index(" deep\n") < way.index("deeper") < way.index("Event.wait")
    assert __file__ in way


async def test_after_that_the_signal_means_what_it_meant() -> None:
    with task_dump.told_on_signal(io.StringIO()):
        pass
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
