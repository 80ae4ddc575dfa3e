"""Work that is done to its end, whatever happens to who asked for it: a write, and what is believed because of it.

A caller who is cancelled between the two, as a kubelet's call is when its deadline passes, would part memory and store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

log = structlog.get_logger()
T = TypeVar("T")


class Finishing:
    """Runs work in `tasks`, which outlives every caller."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks

    async def done(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the work; it goes on without us. Raises what it raises."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(_settle(work, result))
        return await result

    def soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """For one who does not wait, and for whom a failure is only worth a line in the log."""
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        result.cancel()
        self._tasks.create_task(_settle(work, result))


async def _settle(work: Coroutine[Any, Any, T], done: asyncio.Future[T]) -> None:
    try:
        result = await work
    except Exception as error:  # noqa: BLE001 # it is the caller's, and raised there
        if done.cancelled():
            log.info("a change failed, and nobody waits for it", cause=str(error))
        else:
            done.set_exception(error)
    else:
        if not done.cancelled():
            done.set_result(result)
    finally:
        # Only if we were cancelled ourselves.
        if not done.done():
            done.cancel()
