"""A life of a controller, in this process, that can be ended at any one of its awaits, as SIGKILL would end it.

All tasks that a life begins go through a coroutine of ours, which sees each await and where in our code it is. When the
life ends, nothing of it runs any more: no except clause, no finally, no exit of a context manager. What it had asked of
others by then happens all the same.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import CodeType
from typing import Any

OURS = str(Path(__file__).resolve().parents[2] / "controller") + "/"
Place = tuple[str, ...]
"""An await: "file:line function" of each frame, the task's first one first; files of ours below `controller`."""

# Letting go of a coroutine runs its finally clauses: what a life had begun is kept for good.
_GRAVES: list[list[object]] = []
_LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class Life:
    """One life. `seen` has how often it came to each await that `counts`; it ends when it comes to `ends_at` for the
    `time`th time, at once or after so many `turns` of the loop, when what it asked for is on its way.
    """

    def __init__(
        self, counts: Callable[[Place], bool], ends_at: Place | None = None, time: int = 1, turns: int = 0
    ) -> None:
        self.seen: Counter[Place] = Counter()
        self.over = False
        self._ends_at = ends_at
        self._time = time
        self._turns = turns
        self._counts = counts
        self._tasks: set[asyncio.Task[Any]] = set()
        self._begun: list[object] = []

    async def live(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this work and all tasks that come of it, to its end or to the life's."""
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(_make)
        token = _LIFE.set(self)
        try:
            task = loop.create_task(work)
        finally:
            _LIFE.reset(token)
        try:
            await asyncio.wait([task])
            if self._tasks:
                await asyncio.wait(set(self._tasks))
        finally:
            loop.set_task_factory(before)
        if self.over:
            _GRAVES.append(self._begun)
        else:
            task.result()

    def task(self, loop: asyncio.AbstractEventLoop, work: Any, more: Any) -> asyncio.Task[Any]:
        """A task of this life."""
        stepped = _Stepped(self, work)
        self._begun.append(work)
        made: asyncio.Task[Any] = asyncio.Task(stepped, loop=loop, **more)
        self._tasks.add(made)
        made.add_done_callback(self._tasks.discard)
        return made

    @contextmanager
    def generators(self) -> Generator[None]:
        """Asynchronous generators that begin now are the life's, and not the loop's to close at its end."""
        before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._begun.append, finalizer=before.finalizer)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*before)

    def awaits(self, place: Place) -> None:
        """A task of this life has come to an await."""
        if not place or not self._counts(place):
            return
        self.seen[place] += 1
        if place == self._ends_at and self.seen[place] == self._time:
            self._end()

    def _end(self) -> None:
        if self._turns:
            self._turns -= 1
            asyncio.get_running_loop().call_soon(self._end)
            return
        self.over = True
        for task in self._tasks:
            task.cancel()


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine between an asyncio task and what the task is to run."""

    def __init__(self, life: Life, inner: Coroutine[Any, Any, Any]) -> None:
        self._life = life
        self._inner = inner

    def send(self, value: Any) -> Any:
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        if not self._life.over:
            self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError

    def _step(self, step: Callable[..., Any], *values: Any) -> Any:
        if self._life.over:
            raise asyncio.CancelledError
        with self._life.generators():
            waits_for = step(*values)
        self._life.awaits(_place(self._inner))
        if self._life.over:
            raise asyncio.CancelledError
        return waits_for


def _make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    life = _LIFE.get()
    if life is None:
        return asyncio.Task(work, loop=loop, **more)
    return life.task(loop, work, more)


def _place(waiting: Any) -> Place:
    found: list[str] = []
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is None:
            break
        code: CodeType = frame.f_code
        where = code.co_filename.removeprefix(OURS)
        found.append(f"{where}:{frame.f_lineno} {code.co_name}")
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return tuple(found)
