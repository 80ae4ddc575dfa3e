"""Reports of cells: that their connection stands, that they live, how they booted, what happened on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec
from grpclib.client import Channel

from controller.fleet.cell_store import CellStore
from controller.fleet.watchers import EventListeners
from controller.link import report_checks
from controller.link.port import ChangeKind, ConnectionChange
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId
from controller.model.transitions import BootReported

# First events of these reasons are stages of the pod's start, told beside those of the boot.
STAGES = {"Pulling": "pulling", "Pulled": "pulled"}


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """What a connected cell says of itself: versions, bytes of memory in use, and thousandths of a CPU in use since the
    heartbeat before. Numbers are 0 while they are not known.
    """

    agent_version: str = ""
    oci_runtime: str = ""
    memory_bytes: int = 0
    cpu_millis: int = 0
    running_containers: int = 0
    heard_at: float = 0.0
    cpu_used_ns: int = 0


def after(vitals: Vitals, said: report_checks.Hello | report_checks.Heartbeat, at: float) -> Vitals:
    """The same after one more word, heard at `at`."""
    if isinstance(said, report_checks.Hello):
        return Vitals(agent_version=said.agent_version, oci_runtime=said.oci_runtime)
    seconds, used = at - vitals.heard_at, said.cpu_used_ns - vitals.cpu_used_ns
    return msgspec.structs.replace(
        vitals,
        memory_bytes=said.memory_used_bytes,
        cpu_millis=round(used / seconds / 1e6) if vitals.heard_at and seconds > 0 and used > 0 else 0,
        running_containers=said.running_containers,
        heard_at=at,
        cpu_used_ns=said.cpu_used_ns,
    )


class UnknownCell(msgspec.Struct, frozen=True):
    """A cell of which there is no record has connected; its certificate names its instance."""

    name: CellName
    instance: InstanceId


class ConnectionSource(Protocol):
    """Where changes come from."""

    def changes(self) -> AsyncIterator[ConnectionChange]:
        """For one reader."""
        ...

    def channel(self, cell: CellName) -> Channel:
        """The channel to a connected cell. Raises Fault UNREACHABLE."""
        ...

    def disconnect(self, cell: CellName) -> None:
        """End a cell's connection."""
        ...


class Reports:
    """Listens to all cells. Those that nobody knows are sent away, or kept as `newcomers` until `turn_away`."""

    def __init__(self, book: CellStore, port: ConnectionSource, *, welcomes: bool = False) -> None:
        self._book = book
        self.port = port
        self._welcomes = welcomes
        self.newcomers: asyncio.Queue[UnknownCell] = asyncio.Queue()
        self._listeners = EventListeners()
        self.vitals: dict[CellName, Vitals] = {}

    def turn_away(self) -> None:
        """From now on there are no newcomers."""
        self._welcomes = False
        while not self.newcomers.empty():
            self.port.disconnect(self.newcomers.get_nowait().name)

    async def listen(self, clock: Callable[[], float]) -> None:
        """Never returns."""
        async for change in self.port.changes():
            self._heed(change, clock())

    def events(self) -> AsyncIterator[tuple[CellName, report_checks.Happened]]:
        """Events of all cells; a listener that falls far behind misses some."""
        return self._listeners.events()

    def _heed(self, change: ConnectionChange, now: float) -> None:
        cell = self._book.get(change.cell)
        if cell is None and self._welcomes:
            if change.kind is ChangeKind.CONNECTED and change.instance is not None:
                self.newcomers.put_nowait(UnknownCell(change.cell, change.instance))
            return
        if cell is None or cell.state in {CellState.LOST, CellState.GONE}:
            # It was declared dead, and its pod is running elsewhere: it must not be spoken with again.
            self.port.disconnect(change.cell)
            self._forget(change.cell)
            return
        # Whatever it tells, it lives. Our own clock counts: a cell's may be wrong.
        if change.kind is not ChangeKind.DISCONNECTED:
            self._book.heard(change.cell, now)
        match change.kind:
            case ChangeKind.CONNECTED:
                self._book.connect(change.cell, connected=True)
                self._note(cell, {"connected": now})
            case ChangeKind.DISCONNECTED:
                self._book.connect(change.cell, connected=False)
                self._forget(change.cell)
            case ChangeKind.REPORTED:
                self._listen_to(cell, change.said, now)

    def _listen_to(self, cell: Cell, said: report_checks.Word | None, now: float) -> None:
        match said:
            case report_checks.Hello():
                self.vitals[cell.name] = after(Vitals(), said, now)
                self._note(cell, dict(said.moments))
            case report_checks.Heartbeat():
                self.vitals[cell.name] = after(self.vitals.get(cell.name, Vitals()), said, now)
            case report_checks.Happened():
                self._tell(cell, said)
            case None:
                pass

    def _tell(self, cell: Cell, event: report_checks.Happened) -> None:
        self._listeners.tell(cell.name, event)
        if event.reason in STAGES:
            self._note(cell, {STAGES[event.reason]: event.at})

    def _note(self, cell: Cell, moments: dict[str, float]) -> None:
        if not moments.keys() <= cell.moments.keys():
            self._book.soon(cell.name, BootReported(moments))

    def _forget(self, name: CellName) -> None:
        self.vitals.pop(name, None)
