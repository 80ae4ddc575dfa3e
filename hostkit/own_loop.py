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

_BEFORE_OTHERS = -10
"""Niceness of the thread; Linux keeps one for each."""


async def beside(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Await what `work` makes, run in the thread. Raises what it raises; a cancellation ends it before this returns."""
    thread = _Thread(work, name)
    thread.start()
    try:
        await thread.ended
    finally:
        # An await could be cancelled once more; what was cancelled there has little left to do.
        thread.end()


class _Thread:
    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._home = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._home.create_future()
        self._work = work
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._begun.wait()
        if self._running is not None:
            loop, task = self._running
            with suppress(RuntimeError):  # it has ended, and its loop is closed
                loop.call_soon_threadsafe(task.cancel)
        self._thread.join()

    def _run(self) -> None:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BEFORE_OTHERS)
        error: BaseException | None = None
        try:
            asyncio.run(self._main())
        except BaseException as raised:  # noqa: BLE001  it is raised again where the work is awaited
            error = raised
        finally:
            self._begun.set()
        with suppress(RuntimeError):  # who waited may be gone, and its loop closed
            self._home.call_soon_threadsafe(self._settle, error)

    async def _main(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running = asyncio.get_running_loop(), task
        self._begun.set()
        await self._work()

    def _settle(self, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        elif isinstance(error, asyncio.CancelledError):
            self.ended.cancel()
        else:
            self.ended.set_exception(error)
