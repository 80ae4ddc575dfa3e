"""One call for many: what is asked within a short window goes out together.

A window opens with the first request of its group, and closes when nothing came for a while, when it is old, or when it
is full. The work belongs to the room, not to who asked: a caller that is cancelled takes nothing with it, and who asks
again for the same thing meanwhile waits for the same work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cellwire.faults import Fault, Kind

Group = TypeVar("Group", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    waiters: list[asyncio.Future[Result]] = field(default_factory=list[asyncio.Future[Result]])


@dataclass(slots=True)
class _Window(Generic[Item, Result]):
    closes: float
    last: float
    entries: dict[str, _Entry[Item, Result]] = field(default_factory=dict[str, "_Entry[Item, Result]"])


class Batcher(Generic[Group, Item, Result]):
    """`run` carries out one batch, by key, and answers for each key; what it raises is told to all.

    `idle` and `longest` in seconds; `most` items a batch.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        run: Callable[[Group, Mapping[str, Item]], Awaitable[Mapping[str, Result]]],
        idle: float,
        longest: float,
        most: int,
    ) -> None:
        self._tasks = tasks
        self._run = run
        self._idle = idle
        self._longest = longest
        self._most = most
        self._windows: dict[Group, _Window[Item, Result]] = {}
        self._entries: dict[str, _Entry[Item, Result]] = {}
        self._held: set[asyncio.Task[None]] = set()

    async def ask(self, group: Group, items: Mapping[str, Item]) -> dict[str, Result]:
        """The result of each, by its key. A key that is already on its way is not asked for again. Raises Fault."""
        loop = asyncio.get_running_loop()
        waiting: dict[str, asyncio.Future[Result]] = {}
        for key, item in items.items():
            waiting[key] = loop.create_future()
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(item)
                self._join(group, key, entry, loop.time())
            entry.waiters.append(waiting[key])
        try:
            await asyncio.wait(waiting.values()) if waiting else None
        finally:
            for future in waiting.values():
                future.cancel()  # a no-op for what is done
        for future in waiting.values():
            future.exception()  # the first is raised below; the others are seen
        return {key: future.result() for key, future in waiting.items()}

    def close(self) -> None:
        """Give up what is on its way; who waits for it is told so."""
        for task in tuple(self._held):
            task.cancel()

    def _join(self, group: Group, key: str, entry: _Entry[Item, Result], now: float) -> None:
        window = self._windows.get(group)
        if window is None:
            window = self._windows[group] = _Window(now + self._longest, now)
            task = self._tasks.create_task(self._hold(group, window))
            self._held.add(task)
            task.add_done_callback(self._held.discard)
        window.last = now
        window.entries[key] = entry
        if len(window.entries) >= self._most:
            window.closes = now
            del self._windows[group]

    async def _hold(self, group: Group, window: _Window[Item, Result]) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (due := min(window.last + self._idle, window.closes)) > loop.time():
                await asyncio.sleep(due - loop.time())
            if self._windows.get(group) is window:
                del self._windows[group]
            for key in [key for key, entry in window.entries.items() if _deserted(entry)]:
                del window.entries[key]
                del self._entries[key]
            if window.entries:
                items = {key: entry.item for key, entry in window.entries.items()}
                self._answer(window, await self._run(group, items))
        except asyncio.CancelledError:
            self._refuse(window, Fault(Kind.UNAVAILABLE, "cloud", "it is being closed", "ask again"))
            raise
        except Exception as error:  # noqa: BLE001 # told to each who asked
            self._refuse(window, error)
        finally:
            if self._windows.get(group) is window:
                del self._windows[group]
            for key, entry in window.entries.items():
                if self._entries.get(key) is entry:
                    del self._entries[key]

    @staticmethod
    def _answer(window: _Window[Item, Result], results: Mapping[str, Result]) -> None:
        for key, entry in window.entries.items():
            for waiter in entry.waiters:
                if not waiter.done():
                    waiter.set_result(results[key])

    @staticmethod
    def _refuse(window: _Window[Item, Result], error: Exception) -> None:
        for entry in window.entries.values():
            for waiter in entry.waiters:
                if not waiter.done():
                    waiter.set_exception(error)


def _deserted(entry: _Entry[Item, Result]) -> bool:
    return all(waiter.done() for waiter in entry.waiters)
