"""The calls of workers' shims: each is a worker's that is known by its certificate, about cells that it has claimed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog
from grpclib.server import Stream

from cellwire.cell.v1 import cell_pb2 as cell_wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import certificate_shown
from cellwire.rpc.reverse import worker_host, worker_of
from cellwire.worker.v1 import worker_pb2 as wire
from cellwire.worker.v1.worker_grpc import WorkersBase
from controller.central import worker_records
from controller.central.worker_registry import WorkerRegistry
from controller.clouds.protocol import LoginOf
from controller.fleet.cells import Cells
from controller.link.authority import key_of_certificate
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.sandboxes.cell_calls import PATIENCE
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.told import Paces

log = structlog.get_logger()
# A shim that has heard nothing for some times as long asks another controller.
QUIET_SECONDS = 2.0
# Who does not read is not told that it was revoked, either; it watches anew when it can.
UNREAD_SECONDS = 30.0
# A node that has started again claims for all its pods at once. A watch begins with a look at every cell there is.
CALLS_EACH_SECOND, CALLS_AT_ONCE = 100.0, 2000.0
WATCH_COSTS = 50
MOST_ADDRESSES = 16
LONGEST_ADDRESS = 300
# How soon a cell that could not be told which worker to dial is told again.
AGAIN_SECONDS = 2.0
TOLD = frozenset({CellState.READY, CellState.CLAIMED})
_Watch = Stream[wire.WatchRequest, wire.WatchMessage]


class WorkerService(WorkersBase):
    """The handler. `cells` raises Fault UNAVAILABLE while the controller starts, `check_lead` where it leads no more:
    what it knows may be old then. `login` is that of the cloud.
    """

    def __init__(
        self,
        registry: WorkerRegistry,
        cells: Callable[[], Cells],
        check_lead: Callable[[], None],
        login: LoginOf,
    ) -> None:
        self._registry = registry
        self._check_lead = check_lead
        self._cells = cells
        self._login = login
        self._paces = Paces(CALLS_EACH_SECOND, CALLS_AT_ONCE)
        self._watches: dict[str, asyncio.Event] = {}
        """For each worker that watches: set when it watches anew."""

    async def Watch(self, stream: _Watch) -> None:
        worker, request = await self._asked(stream, WATCH_COSTS)
        addresses = tuple(request.addresses)
        if not 0 < len(addresses) <= MOST_ADDRESSES or any(len(one) > LONGEST_ADDRESS for one in addresses):
            raise Fault(Kind.INVALID, f"worker {worker}", "it does not say how cells reach it")
        cells, sending = self._cells(), asyncio.Lock()

        async def send(message: wire.WatchMessage) -> None:
            try:
                async with asyncio.timeout(UNREAD_SECONDS), sending:
                    self._check_lead()
                    await stream.send_message(message)
            except TimeoutError as error:
                cause = f"it has read nothing for {UNREAD_SECONDS:g} s"
                raise Fault(Kind.TIMEOUT, f"watch of worker {worker}", cause) from error

        with self._only_watch(worker, addresses) as another:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_until(another, worker), name=f"watch of {worker}")
                dialling = Dialling(tasks, cells, worker, addresses)
                tasks.create_task(_tell_cells(cells, worker, send, dialling), name=f"cells of {worker}")
                tasks.create_task(_tell_events(cells, worker, send), name=f"events of {worker}")
                while True:
                    await asyncio.sleep(QUIET_SECONDS)
                    self._caller(stream)
                    await send(wire.WatchMessage(quiet=wire.Quiet()))

    async def Claim(self, stream: Stream[wire.ClaimRequest, wire.ClaimReply]) -> None:
        worker, request = await self._asked(stream)
        cell = await self._cells().claim(worker_records.claim_of(request.claim, worker))
        try:
            # It may take as long as an instance boots, and who was revoked meanwhile had its other cells retired then.
            self._caller(stream)
        except Fault as fault:
            if fault.kind is Kind.DENIED:
                await self._cells().release(cell.name, f"its worker {worker} was revoked")
            raise
        await stream.send_message(wire.ClaimReply(cell=worker_records.as_seen(cell)))

    async def Release(self, stream: Stream[wire.ReleaseRequest, wire.ReleaseReply]) -> None:
        worker, request = await self._asked(stream)
        cells = self._cells()
        cell = cells.get(CellName(request.cell))
        if cell is not None and not worker_records.is_of(cell, worker):
            raise Fault(Kind.DENIED, f"cell {request.cell[:100]}", f"worker {worker} has not claimed it")
        if cell is not None:
            await cells.release(cell.name, request.reason[:1000])
        await stream.send_message(wire.ReleaseReply())

    async def Login(self, stream: Stream[wire.LoginRequest, wire.LoginReply]) -> None:
        _, request = await self._asked(stream)
        found = await self._login(request.image)
        reply = wire.LoginReply(username=found.username, password=found.password) if found else wire.LoginReply()
        await stream.send_message(reply)

    @contextmanager
    def _only_watch(self, worker: str, addresses: tuple[str, ...]) -> Generator[asyncio.Event]:
        """The newest wins, for the worker knows better than we which connection is dead."""
        if (former := self._watches.get(worker)) is not None:
            former.set()
        another = self._watches[worker] = asyncio.Event()
        log.info("a worker watches", worker=worker, addresses=addresses)
        try:
            yield another
        finally:
            if self._watches.get(worker) is another:
                del self._watches[worker]
            log.info("a worker watches no more", worker=worker)

    async def _asked(self, stream: Stream[Any, Any], cost: float = 1) -> tuple[str, Any]:
        worker, now = self._caller(stream), time.monotonic()
        await asyncio.sleep(self._paces.of(worker, now).wait(cost, now))
        request = await stream.recv_message()
        if request is None:
            raise Fault(Kind.INVALID, f"call of worker {worker}", "it ended before it was whole")
        return worker, request

    def _caller(self, stream: Stream[Any, Any]) -> str:
        """Whose call it is. Raises Fault DENIED where it is nobody's (any more), UNAVAILABLE where we lead no more."""
        self._check_lead()
        worker = worker_of(stream.peer.cert() or {})
        self._registry.check(worker, key_of_certificate(certificate_shown(stream.peer)))
        return worker


_Send = Callable[[wire.WatchMessage], Any]


async def _until(another: asyncio.Event, worker: str) -> None:
    await another.wait()
    raise Fault(Kind.UNAVAILABLE, f"watch of worker {worker}", "it watches anew")


async def _tell_cells(cells: Cells, worker: str, send: _Send, dialling: Dialling) -> None:
    left = len(cells.list())  # what a watch begins with
    if not left:
        await send(wire.WatchMessage(listed=wire.Listed()))
    async for cell in cells.watch():
        if worker_records.is_of(cell, worker):
            await send(wire.WatchMessage(cell=worker_records.as_seen(cell)))
            dialling.heed(cell)
        left -= 1
        if not left:
            await send(wire.WatchMessage(listed=wire.Listed()))


async def _tell_events(cells: Cells, worker: str, send: _Send) -> None:
    async for name, said in cells.events():
        cell = cells.get(name)
        if cell is not None and worker_records.is_of(cell, worker):
            happened = wire.Happened(cell=name, said=msgspec.msgpack.encode(said))
            await send(wire.WatchMessage(happened=happened))


class Dialling:
    """Tells the cells of a worker to dial its shim, for as long as that watches: once on each connection of theirs."""

    def __init__(self, tasks: asyncio.TaskGroup, cells: Cells, worker: str, addresses: Sequence[str]) -> None:
        self._tasks = tasks
        self._cells = cells
        self._request = cell_wire.DialWorkerRequest(name=worker_host(worker), addresses=addresses)
        self._told: set[CellName] = set()

    def heed(self, cell: Cell) -> None:
        """A cell of the worker's has changed."""
        if cell.state not in TOLD or not cell.connected:
            self._told.discard(cell.name)
        elif cell.name not in self._told:
            self._told.add(cell.name)
            self._tasks.create_task(self._tell(cell.name), name=f"have {cell.name} dial its worker")

    async def _tell(self, name: CellName) -> None:
        while name in self._told:
            try:
                await OneCell(self._cells, name, patience=PATIENCE).dial_worker(self._request)
            except Fault as fault:
                if fault.kind is Kind.UNSUPPORTED:
                    log.warning("a cell's agent knows no workers: launch cells with a newer one", cell=name)
                    return
                log.info("a cell is told later which worker to dial", cell=name, cause=str(fault))
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return
