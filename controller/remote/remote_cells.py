"""The cells of this worker: `controller.fleet.cells.Cells` with a central controller behind it.

What is known of them is kept on this worker, so that a shim that starts while no controller answers knows its pods. A
cell counts as connected where it is connected here. A release is written down here and told as soon as it can be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import structlog
from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from cellwire.worker.v1 import worker_pb2 as wire
from controller.fleet.watchers import EventListeners, Watchers
from controller.link.report_checks import Happened
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.model.pod import PodClaim
from controller.model.transitions import ENDING, LIVE
from controller.remote.central import Central
from controller.remote.worker_port import CellPort
from controller.store.record_store import Store, decode, encode
from hostkit.tasks import Finishing

log = structlog.get_logger()
KIND = "cells"
RELEASES = "releases"
RELEASE_AGAIN = 1.0
# A cell that is claimed is told to dial us at once; one that does not come cannot reach us.
DIAL_PATIENCE = 60.0


class RemoteCells:
    """See `controller.fleet.cells.Cells`."""

    def __init__(self, store: Store, tasks: asyncio.TaskGroup, central: Central) -> None:
        self._store = store
        self._central = central
        self._finishing = Finishing(tasks)
        self._cells: dict[CellName, Cell] = {}
        self._listed: set[CellName] | None = None
        """Names that the present connection has told so far, until its list is whole."""
        self._releases: dict[CellName, str] = {}
        self._to_release = asyncio.Event()
        self.reached_at: tuple[str, ...] = ()
        """How cells reach this worker, for who asks why one does not come."""
        self._watchers = Watchers()
        self._listeners = EventListeners()
        self._learning = asyncio.Lock()
        self.port = CellPort(lambda name: name in self._cells, self._lives_at, self._connection)

    async def load(self) -> None:
        """Take up what an earlier life wrote."""
        for stored in await self._store.list(KIND):
            cell = decode(stored.value, Cell)
            self._cells[cell.name] = cell
        for stored in await self._store.list(RELEASES):
            self._releases[CellName(stored.key)] = stored.value.decode()

    async def claim(self, claim: PodClaim) -> Cell:
        """See Cells."""
        cell = await self._central.claim(claim)
        if cell.name not in self._cells:
            await self._finishing.done(self._learn(cell))
        try:
            async with asyncio.timeout(DIAL_PATIENCE):
                await self.connected(cell.name)
        except TimeoutError as error:
            cause = f"it is claimed, and has not dialled this worker within {DIAL_PATIENCE:g} s"
            mend = f"cells must reach {' or '.join(self.reached_at)} (remote.addresses, remote.port)"
            raise Fault(Kind.UNAVAILABLE, f"cell {cell.name}", cause, mend) from error
        return self._cells[cell.name]

    async def release(self, name: CellName, reason: str) -> None:
        """See Cells."""
        cell = self._cells.get(name)
        if cell is not None and cell.state in LIVE:
            await self._finishing.done(self._released(cell, reason))

    def get(self, name: CellName) -> Cell | None:
        """See Cells."""
        return self._cells.get(name)

    def list(self) -> tuple[Cell, ...]:
        """See Cells."""
        return tuple(self._cells[name] for name in sorted(self._cells))

    def channel(self, name: CellName) -> Channel:
        """See Cells."""
        return self.port.channels.get(name)

    async def connected(self, name: CellName) -> Channel:
        """See Cells."""
        with self._watchers.bell(name) as bell:
            while True:
                cell, here = self._cells.get(name), name in self.port.channels.names()
                over = cell is None or cell.state is CellState.LOST or (cell.state in ENDING and not here)
                if cell is None or over:
                    cause = cell.reason if cell else "it is gone"
                    raise Fault(Kind.UNAVAILABLE, f"cell {name}", cause, reason="CellLost")
                if here:
                    return self.port.channels.get(name)
                await bell.wait()
                bell.clear()

    def watch(self) -> AsyncIterator[Cell]:
        """See Cells."""
        return self._watchers.watch(self.list)

    def events(self) -> AsyncIterator[tuple[CellName, Happened]]:
        """See Cells."""
        return self._listeners.events()

    async def heed(self, message: wire.WatchMessage) -> None:
        """Take in a word of the controller's."""
        match message.WhichOneof("message"):
            case "cell":
                cell = decode(message.cell, Cell)
                if self._listed is not None:
                    self._listed.add(cell.name)
                await self._finishing.done(self._learn(cell))
            case "listed":
                listed, self._listed = self._listed or set(), None
                for name in self._cells.keys() - listed:
                    await self._finishing.done(self._forget(name))
            case "happened":
                self._tell(CellName(message.happened.cell), message.happened.said)
            case _:
                pass

    def begin_list(self) -> None:
        """A new connection is about to tell every cell."""
        self._listed = set()

    def releases_waiting(self) -> int:
        """How many cells are over here, of which no controller has heard yet."""
        return len(self._releases)

    async def release_often(self) -> None:
        """For ever: tell the controller which cells are over."""
        while True:
            for name, reason in tuple(self._releases.items()):
                try:
                    await self._central.release(name, reason)
                except Fault as fault:
                    log.warning("a cell is released later", cell=name, cause=str(fault))
                    await asyncio.sleep(RELEASE_AGAIN)
                else:
                    await self._store.delete(RELEASES, name)
                    self._releases.pop(name, None)
            if not self._releases:
                self._to_release.clear()
                await self._to_release.wait()

    async def _released(self, cell: Cell, reason: str) -> None:
        await self._store.put(RELEASES, cell.name, reason.encode())
        self._releases[cell.name] = reason
        self._to_release.set()
        await self._learn(cell)

    async def _learn(self, told: Cell) -> None:
        async with self._learning:
            if told.name in self._releases and told.state in LIVE:
                told = msgspec.structs.replace(told, state=CellState.RETIRING, reason=self._releases[told.name])
            if told.state is CellState.GONE:
                await self._drop(told)
                return
            kept = msgspec.structs.replace(told, connected=False, last_heartbeat=0.0)
            await self._store.put(KIND, told.name, encode(kept))
            self._show(kept)
        if told.state is CellState.LOST and told.name in self.port.channels.names():
            # Its pod is running elsewhere: it must not be spoken with again.
            self.port.channels.get(told.name).close()

    async def _forget(self, name: CellName) -> None:
        """The controller has no such cell."""
        async with self._learning:
            cell = self._cells.get(name)
            if cell is not None:
                await self._drop(cell)

    async def _drop(self, cell: Cell) -> None:
        await self._store.delete(KIND, cell.name)
        self._cells.pop(cell.name, None)
        if cell.name in self.port.channels.names():
            self.port.channels.get(cell.name).close()
        self._watchers.tell(msgspec.structs.replace(cell, state=CellState.GONE, connected=False))

    def _lives_at(self, host: str) -> bool:
        address = host.removeprefix("::ffff:")
        return any(cell.address == address for cell in self._cells.values())

    def _connection(self, name: CellName) -> None:
        if (cell := self._cells.get(name)) is not None:
            self._show(cell)

    def _show(self, cell: Cell) -> None:
        cell = msgspec.structs.replace(cell, connected=cell.name in self.port.channels.names())
        self._cells[cell.name] = cell
        self._watchers.tell(cell)

    def _tell(self, name: CellName, told: bytes) -> None:
        self._listeners.tell(name, decode(told, Happened))
