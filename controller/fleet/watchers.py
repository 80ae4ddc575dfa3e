"""Changes of cells, and what happens on them, told to watchers and listeners, each at its own speed.

A watcher that keeps up sees every change. One that falls far behind sees the newest of each cell only, so that what is
kept for it stays bounded by the number of cells. A listener that falls far behind misses events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import contextmanager

from controller.link.report_checks import Happened
from controller.model.cell import Cell
from controller.model.names import CellName

# Changes kept for a watcher before only the newest of each cell are.
KEPT = 1024
EVENTS_KEPT = 1000


class _Watcher:
    def __init__(self) -> None:
        self.waiting: deque[Cell] = deque()
        self.bell = asyncio.Event()
        self.collapse_at = KEPT

    def tell(self, cell: Cell) -> None:
        self.waiting.append(cell)
        if len(self.waiting) > self.collapse_at:
            newest: dict[CellName, Cell] = {}
            for each in self.waiting:
                newest.pop(each.name, None)
                newest[each.name] = each
            self.waiting = deque(newest.values())
            self.collapse_at = max(KEPT, 2 * len(self.waiting))
        self.bell.set()


class Watchers:
    """Watchers of cells."""

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()
        self._bells: dict[str | None, set[asyncio.Event]] = {}

    def tell(self, cell: Cell) -> None:
        """Something about this cell changed."""
        for watcher in self._watchers:
            watcher.tell(cell)
        for subject in {cell.name, cell.instance, None}:
            self.ring(subject)

    def ring(self, subject: str | None) -> None:
        """Wake who waits for this, which is more than one cell's."""
        for bell in self._bells.get(subject, ()):
            bell.set()

    async def watch(self, now: Callable[[], Iterable[Cell]]) -> AsyncIterator[Cell]:
        """What there is now, then each change, until the caller stops."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            for cell in now():
                yield cell
            while True:
                while watcher.waiting:
                    yield watcher.waiting.popleft()
                watcher.bell.clear()
                await watcher.bell.wait()
        finally:
            self._watchers.discard(watcher)

    @contextmanager
    def bell(self, *subjects: str | None) -> Generator[asyncio.Event]:
        """An event that is set at each change of a cell, by its name or its instance (None: of any), and when one of
        the subjects is rung, for one who looks for himself.
        """
        bell = asyncio.Event()
        for subject in subjects:
            self._bells.setdefault(subject, set()).add(bell)
        try:
            yield bell
        finally:
            for subject in subjects:
                bells = self._bells[subject]
                bells.discard(bell)
                if not bells:
                    del self._bells[subject]


class EventListeners:
    """Listeners to events of cells."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[tuple[CellName, Happened]]] = set()

    def tell(self, name: CellName, event: Happened) -> None:
        """An event of a cell, for all who listen now."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((name, event))

    async def events(self) -> AsyncIterator[tuple[CellName, Happened]]:
        """Events of all cells from now on, until the caller stops."""
        queue: asyncio.Queue[tuple[CellName, Happened]] = asyncio.Queue(EVENTS_KEPT)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
