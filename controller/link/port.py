"""The one port that cells dial: joins and renewals as short calls, then one turned connection a cell.

Offers what the fleet needs of it: a channel to each connected cell, and what cells say as one stream of changes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from grpclib.client import Channel
from grpclib.protocol import H2Protocol

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import settled
from cellwire.rpc.serve import prepared
from cellwire.rpc.turned import AUTHORITY, CALLS, TURNED, Fork, TurnedChannel, calls_protocol
from controller.link.admission import Admission
from controller.link.authority import Authority
from controller.link.join import Enrolment, Verifier, cell_of
from controller.model.names import CellName

log = structlog.get_logger()
CHANGES_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where cells dial. `addresses` are how they reach us, the first preferred; `folder` keeps keys."""

    folder: Path
    host: str = "0.0.0.0"  # noqa: S104 # cells come from elsewhere
    port: int = 7443
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Something about a cell's connection: "connected", "disconnected", or a message of its report."""

    cell: CellName
    kind: str
    message: wire.ReportMessage | None = None


@dataclass(slots=True)
class _Connection:
    channel: TurnedChannel
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Link:
    """The connected cells."""

    def __init__(self, settings: LinkSettings, authority: Authority, tasks: asyncio.TaskGroup) -> None:
        self.authority = authority
        self.refused: Counter[str] = Counter()
        self._settings = settings
        self._tasks = tasks
        self._connections: dict[CellName, _Connection] = {}
        self._changes: asyncio.Queue[Change] = asyncio.Queue(CHANGES_KEPT)
        self.port = settings.port

    @property
    def controllers(self) -> tuple[str, ...]:
        """Each "host:port" by which cells reach this port."""
        return tuple(f"{address}:{self.port}" for address in self._settings.addresses or (self._settings.host,))

    def channel(self, cell: CellName) -> Channel:
        """The channel to a connected cell. Raises Fault UNAVAILABLE."""
        connection = self._connections.get(cell)
        if connection is None:
            raise Fault(Kind.UNAVAILABLE, f"cell {cell}", "it is not connected now", "it redials by itself; ask again")
        return connection.channel

    def connected(self) -> frozenset[CellName]:
        """The cells that are connected now."""
        return frozenset(self._connections)

    def disconnect(self, cell: CellName) -> None:
        """End a cell's connection, if there is one."""
        connection = self._connections.get(cell)
        if connection is not None:
            connection.channel.close()

    async def changes(self) -> AsyncIterator[Change]:
        """What happens to connections and what cells report, for one reader."""
        while True:
            yield await self._changes.get()

    def accept(self, tls: ssl.SSLObject) -> H2Protocol | None:
        """A cell has dialled; None where its certificate names none."""
        cell = cell_of(tls.getpeercert() or {})
        if cell is None:
            self.refused["NoCertificate"] += 1
            log.warning("refused a connection without a cell's certificate")
            return None
        former = self._connections.pop(cell, None)
        if former is not None:
            former.channel.close()
        connection = _Connection(TurnedChannel())
        self._connections[cell] = connection
        protocol = connection.channel.protocol(connection.ended.set)
        self._tasks.create_task(self._hear(cell, connection), name=f"report of {cell}")
        return protocol

    def close(self) -> None:
        """End all connections; the cells redial whoever comes next."""
        for connection in self._connections.values():
            connection.channel.close()

    async def _hear(self, cell: CellName, connection: _Connection) -> None:
        # The protocol gets its transport after accept() returns.
        await asyncio.sleep(0)
        try:
            with settled():
                async with cell_grpc.CellStub(connection.channel).Report.open() as stream:
                    await stream.send_message(wire.ReportRequest(), end=True)
                    self._tell(Change(cell, "connected"))
                    async for message in stream:
                        self._tell(Change(cell, message.WhichOneof("message") or "", message))
        except Fault as fault:
            log.info("the report of a cell ended", cell=cell, cause=str(fault))
        finally:
            connection.channel.close()
            if self._connections.get(cell) is connection:
                del self._connections[cell]
                self._tell(Change(cell, "disconnected"))

    def _tell(self, change: Change) -> None:
        try:
            self._changes.put_nowait(change)
        except asyncio.QueueFull:
            log.exception("the fleet does not keep up with its cells; a report is dropped", cell=change.cell)


@asynccontextmanager
async def running(settings: LinkSettings, admission: Callable[[], Admission], verify: Verifier) -> AsyncGenerator[Link]:
    """The port, open for as long as the context lives. `admission` is asked once the fleet is there."""
    authority = Authority(settings.folder, (*settings.addresses, settings.host))
    async with asyncio.TaskGroup() as tasks:
        link = Link(settings, authority, tasks)
        server = prepared([Enrolment(authority, admission, verify, link.refused)], details=True)
        calls = calls_protocol(server)
        listener = await asyncio.get_running_loop().create_server(
            lambda: Fork(calls, link.accept, authority.pem),
            settings.host,
            settings.port,
            ssl=authority.server_context((TURNED, CALLS, AUTHORITY)),
            ssl_handshake_timeout=10,
        )
        link.port = listener.sockets[0].getsockname()[1]
        try:
            yield link
        finally:
            listener.close()
            link.close()
