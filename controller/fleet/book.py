"""The cells as they are known: one owner, every change stored before anyone sees it, everyone who waits told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec

from cellwire.faults import Fault
from controller.model import steps
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId
from controller.store.protocol import Store

KIND = "cell"


class Book:
    """Records of cells."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cells: dict[CellName, Cell] = {}
        self._by_instance: dict[InstanceId, CellName] = {}
        self._writing: dict[CellName, asyncio.Lock] = {}
        self._watchers: set[asyncio.Queue[Cell]] = set()
        self._changed = asyncio.Condition()
        self.faults: dict[CellName, Fault] = {}

    async def load(self) -> None:
        """Read what an earlier life of the controller stored. Nobody is connected yet."""
        for stored in await self._store.list(KIND):
            cell = msgspec.msgpack.decode(stored.value, type=Cell)
            self._keep(msgspec.structs.replace(cell, connected=False))

    def get(self, name: CellName) -> Cell | None:
        """The cell as known now."""
        return self._cells.get(name)

    def all(self) -> tuple[Cell, ...]:
        """All cells, by name."""
        return tuple(self._cells[name] for name in sorted(self._cells))

    def on_instance(self, instance: InstanceId) -> Cell | None:
        """The cell on an instance."""
        name = self._by_instance.get(instance)
        return self._cells.get(name) if name else None

    async def add(self, cell: Cell) -> None:
        """A new cell."""
        await self._write(cell)

    async def step(self, name: CellName, event: steps.Event) -> Cell:
        """Move a cell. Raises ImpossibleStep; a cell that is gone stays gone."""
        async with self._writing.setdefault(name, asyncio.Lock()):
            cell = steps.step(self._cells[name], event, time.time())
            await self._write(cell)
            return cell

    async def hear(self, name: CellName, *, connected: bool, moments: dict[str, float] | None = None) -> None:
        """A cell has connected, spoken or fallen silent. Kept in memory: it is told anew after a restart."""
        cell = self._cells.get(name)
        if cell is None:
            return
        news = msgspec.structs.replace(
            cell,
            connected=connected,
            last_heartbeat=time.time(),
            moments={**cell.moments, **(moments or {})},
        )
        self._cells[name] = news
        if news.connected != cell.connected or moments:
            await self._tell(news)

    async def forget(self, name: CellName) -> None:
        """Nothing of the cell is left."""
        await self._store.delete(KIND, str(name))
        cell = self._cells.pop(name, None)
        if cell is not None and cell.instance is not None:
            self._by_instance.pop(cell.instance, None)
        self._writing.pop(name, None)
        await self._wake()

    async def until_changed(self) -> None:
        """Wait for any change of any cell."""
        async with self._changed:
            await self._changed.wait()

    async def watch(self) -> AsyncIterator[Cell]:
        """Every cell as it is now, then each change."""
        queue: asyncio.Queue[Cell] = asyncio.Queue()
        for cell in self.all():
            queue.put_nowait(cell)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    async def _write(self, cell: Cell) -> None:
        stored = msgspec.structs.replace(cell, connected=False)
        await self._store.put(KIND, str(cell.name), msgspec.msgpack.encode(stored))
        known = self._cells.get(cell.name)
        if known is not None:
            cell = msgspec.structs.replace(
                cell,
                connected=known.connected,
                last_heartbeat=max(known.last_heartbeat, cell.last_heartbeat),
                moments={**known.moments, **cell.moments},
            )
        self._keep(cell)
        await self._tell(cell)

    def _keep(self, cell: Cell) -> None:
        self._cells[cell.name] = cell
        if cell.instance is not None and cell.state is not CellState.GONE:
            self._by_instance[cell.instance] = cell.name

    async def _tell(self, cell: Cell) -> None:
        for queue in self._watchers:
            queue.put_nowait(cell)
        await self._wake()

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()
