"""Work in a thread with an event loop of its own: for what must be in time however busy this process's own loop is.

It runs before other threads where the kernel lets us. It still waits for the interpreter's lock, which a busy loop
gives up every few milliseconds. It shares nothing with the rest but plain values.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from hostkit.daemon_threads import DaemonThreads

_BEFORE_OTHERS = -10
"""Niceness of the thread; Linux keeps one for each."""


async def beside(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Await what `work` makes, run in the thread. Raises what it raises; a cancellation ends it before this returns.

    What it has left in its loop's executor is waited for by nobody.
    """
    thread = _Thread(work, name)
    thread.start()
    try:
        await asyncio.wait([thread.ended])
    except asyncio.CancelledError:
        thread.cancel()
        # Who is cancelled once more waits all the same: what was cancelled there has little left to do.
        while not thread.ended.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([thread.ended])
        if not thread.ended.cancelled():
            thread.ended.exception()
        raise
    thread.ended.result()


class _Thread:
    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._home = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._home.create_future()
        self._work = work
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        # In this order, and the thread the other way round: one of the two sees the other's.
        self._cancelled = True
        if self._running is not None:
            loop, task = self._running
            with suppress(RuntimeError):  # it has ended, and its loop is closed
                loop.call_soon_threadsafe(task.cancel)

    def _run(self) -> None:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BEFORE_OTHERS)
        error: BaseException | None = None
        try:
            asyncio.run(self._main())
        except BaseException as raised:  # noqa: BLE001  it is raised again where the work is awaited
            error = raised
        with suppress(RuntimeError):  # who waited may be gone, and its loop closed
            self._home.call_soon_threadsafe(self._settle, error)

    async def _main(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        loop.set_default_executor(DaemonThreads())
        self._running = loop, task
        if not self._cancelled:
            await self._work()

    def _settle(self, error: BaseException | None) -> None:
        self._thread.join()  # this was the last that it did
        if error is None:
            self.ended.set_result(None)
        elif isinstance(error, asyncio.CancelledError):
            self.ended.cancel()
        else:
            self.ended.set_exception(error)
