"""The one port that cells dial: joins and renewals as short calls, then one turned connection a cell.

Offers what the fleet needs of it: a channel to each connected cell, and what cells say as one stream of changes.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import resource
import ssl
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import translate_errors
from cellwire.rpc.door import accepting
from cellwire.rpc.giving import protocol_of
from cellwire.rpc.guests import Places
from cellwire.rpc.limits import FROM_WORKER, STRANGER
from cellwire.rpc.reverse import AUTHORITY, CALLS, TURNED, WORKER, TurnedChannel, common_name, device
from cellwire.rpc.serve import prepared
from controller.link import report_checks
from controller.link.authority import SERVER_LIFE, Authority
from controller.link.channels import Channels
from controller.link.distrust import Distrust
from controller.link.join_checks import Admission, CellPace
from controller.link.join_service import Enrolment, Verifier
from controller.link.link_settings import dialled, written
from controller.model.names import CellName, InstanceId
from hostkit.tasks import Singleflight

if TYPE_CHECKING:
    from grpclib._typing import IServable

log = structlog.get_logger()
CHANGES_KEPT = 100_000
# How a report ends whose connection ends; whatever else ends it, the cell has said.
BROKEN_OFF = frozenset({Kind.UNREACHABLE, Kind.UNAVAILABLE})
PLACES = Places()
RENEW_SERVER_AFTER = SERVER_LIFE.total_seconds() * 2 / 3


WorkerServices = Callable[[Authority, Counter[str]], "tuple[IServable, IServable]"]


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where cells dial. `addresses` (hosts, or host:port) are how they reach us, best first; `folder` keeps keys."""

    folder: Path
    host: str = "0.0.0.0"  # noqa: S104 # cells come from elsewhere
    port: int = 7443
    addresses: tuple[str, ...] = ()
    agents: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """The agent's bundle for stock images, by architecture."""


class ChangeKind(enum.Enum):
    """What happens to a cell's connection."""

    CONNECTED = "connected"
    REPORTED = "reported"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """A change of a cell's connection; `said` is what its report said.

    `instance` is the one that the certificate names with which the cell connected.
    """

    cell: CellName
    kind: ChangeKind
    said: report_checks.Word | None = None
    instance: InstanceId | None = None


class Link:
    """The connected cells."""

    def __init__(
        self, settings: LinkSettings, authority: Authority, tasks: asyncio.TaskGroup, pace: Callable[[], CellPace]
    ) -> None:
        self.authority = authority
        self.agents: Mapping[str, str] = {}
        self.refused: Counter[str] = Counter()
        self.port = settings.port
        self._settings = settings
        self._tasks = tasks
        self._pace = pace
        self._channels = Channels()
        self._distrust = Distrust()
        self.untrue: Counter[str] = Counter()
        """How often cells were not believed, and how often they were kept out for it, since the start."""
        self._changes: asyncio.Queue[ConnectionChange] = asyncio.Queue()
        self._closed = False

    @property
    def controllers(self) -> tuple[str, ...]:
        """Each "host:port" by which cells reach this port."""
        named = self._settings.addresses or (self._settings.host,)
        return tuple(written(*dialled(address, self.port)) for address in named)

    def channel(self, cell: CellName) -> Channel:
        """The channel to a connected cell. Raises Fault UNREACHABLE."""
        return self._channels.get(cell)

    def connected(self) -> frozenset[CellName]:
        """The cells that are connected now."""
        return self._channels.names()

    def disconnect(self, cell: CellName) -> None:
        """End a cell's connection, if there is one. It will redial."""
        if cell in self._channels.names():
            self._channels.get(cell).close()

    async def changes(self) -> AsyncIterator[ConnectionChange]:
        """What happens to connections and what cells report, for one reader."""
        while True:
            yield await self._changes.get()

    def accept(self, channel: TurnedChannel) -> None:
        """A cell has dialled, and TLS has checked its certificate."""
        if self._closed:
            channel.close()
            return
        cell = CellName(common_name(channel.certificate))
        if self._distrust.keeps_out(cell, time.monotonic()):
            self.untrue["kept-out"] += 1
            channel.close()
            return
        self._channels.put(cell, channel)
        self._tasks.create_task(self._hear(cell, channel), name=f"report of {cell}")

    def close(self) -> None:
        """End all connections and take no other; the cells redial whoever comes next."""
        self._closed = True
        self._channels.close()

    async def _hear(self, cell: CellName, channel: TurnedChannel) -> None:
        log.info("cell connected", cell=cell, address=channel.address)
        self._tell(ConnectionChange(cell, ChangeKind.CONNECTED, instance=InstanceId(device(channel.certificate))))
        pace = report_checks.MessageLevel()
        try:
            async for message in _report(channel, self._pace):
                pace = pace.after(time.monotonic(), cell)
                self._tell(ConnectionChange(cell, ChangeKind.REPORTED, report_checks.of(message, cell)))
        except Fault as fault:
            if fault.kind not in BROKEN_OFF:
                channel.distrust(str(fault))
            log.info("cell disconnected", cell=cell, cause=str(fault))
        except Exception:
            log.exception("the report of a cell could not be read", cell=cell)
        finally:
            if channel.untrue:
                self._disbelieve(cell, channel.untrue)
            if self._channels.remove(cell, channel):
                self._tell(ConnectionChange(cell, ChangeKind.DISCONNECTED))

    def _disbelieve(self, cell: CellName, why: str) -> None:
        seconds = self._distrust.lied(cell, time.monotonic())
        self.untrue["ended"] += 1
        log.warning("a cell is not believed: its connection is ended", cell=cell, cause=why, kept_out=seconds)
        message = f"what the cell says is not believed, and it is kept out for {seconds:g} s: {why}"
        message = message[: report_checks.LONGEST_SENTENCE]
        said = report_checks.Happened(at=time.time(), reason="NotBelieved", message=message, warning=True)
        self._tell(ConnectionChange(cell, ChangeKind.REPORTED, said))

    def _tell(self, change: ConnectionChange) -> None:
        if isinstance(change.said, report_checks.Heartbeat) and self._changes.qsize() > CHANGES_KEPT:
            # The next one says the same; nothing else may be lost.
            log.error("the fleet does not keep up with its cells; a heartbeat is dropped", cell=change.cell)
            return
        self._changes.put_nowait(change)


@asynccontextmanager
async def running(
    settings: LinkSettings, admission: Callable[[], Admission], verify: Verifier, workers: WorkerServices | None = None
) -> AsyncGenerator[Link]:
    """The port, open for as long as the context lives. `admission` is asked once the fleet is there; `workers` gives
    the two services of workers, that of strangers first.
    """
    hosts = (dialled(address, settings.port)[0] for address in settings.addresses)
    authority = Authority(settings.folder, (*hosts, settings.host))
    async with asyncio.TaskGroup() as tasks:
        link = Link(settings, authority, tasks, partial(_pace, admission))
        link.agents = {name: await asyncio.to_thread(_hash, name, path) for name, path in settings.agents.items()}
        files = {protocol_of(name): path for name, path in settings.agents.items()}
        flights = Singleflight(tasks)
        enrolment = Enrolment(authority, admission, verify, link.refused, flights)
        servers = {CALLS: prepared([enrolment], details=True, limits=STRANGER)}
        if workers is not None:
            newcomers, known = workers(authority, link.refused)
            servers = {
                CALLS: prepared([enrolment, newcomers], details=True, limits=STRANGER),
                WORKER: prepared([known], details=True, limits=FROM_WORKER),
            }
        context = authority.server_context((TURNED, AUTHORITY, *servers, *files))
        async with accepting(
            (settings.host, settings.port),
            context,
            servers=servers,
            turned=link.accept,
            authority=authority.pem,
            files=files,
            places=replace(
                PLACES,
                total=min(PLACES.total, _descriptors() // 8),
                familiar=min(PLACES.familiar, _descriptors() // 8),
            ),
            familiar=partial(_familiar, admission),
            crowded=partial(_crowded, admission),
            mend="choose another link.host or link.port",
        ) as port:
            link.port = port.number
            renewal = tasks.create_task(_renew_server(authority, context))
            try:
                yield link
            finally:
                renewal.cancel()
                flights.stop()
                link.close()


def _hash(architecture: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        mend = "pack one with `make bundle`, or unset it"
        raise Fault(Kind.INVALID, f"link.agent_{architecture} {path}", error.strerror or str(error), mend) from error


def _familiar(admission: Callable[[], Admission], host: str) -> bool:
    try:
        return admission().familiar(host.removeprefix("::ffff:"))
    except Fault:  # the fleet is not there yet
        return False


def _crowded(admission: Callable[[], Admission]) -> None:
    with suppress(Fault):  # a fleet that is not there yet counts from its start
        admission().crowded()


def _pace(admission: Callable[[], Admission]) -> CellPace:
    try:
        return admission().pace()
    except Fault:
        return CellPace()


def _descriptors() -> int:
    """How many files and connections this process may have open: strangers get a part, cells and users the rest."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def _renew_server(authority: Authority, context: ssl.SSLContext) -> None:
    while True:
        await asyncio.sleep(RENEW_SERVER_AFTER)
        authority.renew_server(context)


async def _report(channel: Channel, pace: Callable[[], CellPace]) -> AsyncIterator[wire.ReportMessage]:
    """What a cell reports, for as long as its connection stands. Raises Fault when that breaks.

    The cell is told its pace at the beginning, and after the first heartbeat after a change: so not all are told at
    once.
    """
    with translate_errors():
        async with cell_grpc.CellStub(channel).Report.open() as stream:
            told = pace()
            await stream.send_message(_request(told))
            async for message in stream:
                yield message
                if message.HasField("heartbeat") and (wanted := pace()) != told:
                    told = wanted
                    await stream.send_message(_request(told))


def _request(pace: CellPace) -> wire.ReportRequest:
    return wire.ReportRequest(
        heartbeat_interval_ms=round(pace.heartbeat * 1000), redial_window_ms=round(pace.redial_window * 1000)
    )
