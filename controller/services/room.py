"""The room: one stream to each cell that has a pod, by which it is told of Services and asks for names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import msgspec
import structlog
from grpclib.client import Stream

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import settled
from controller.fleet.cells import Cells
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.services import model, names
from controller.services.book import COMMON, Book
from controller.services.model import Key
from controller.services.settings import Services

log = structlog.get_logger()
# After a broken stream; the next try waits for the cell to be connected anyway.
PAUSE = 0.5
# A pod asks for some names a second; one that asks for more is answered as slowly.
QUESTIONS_PER_SECOND = 200.0
BURST = 400.0
# Services of other namespaces that one cell may hold.
MOST_WANTED = 2000
CLUSTER_DNS: Key = ("kube-system", "kube-dns")
_OVER = frozenset({CellState.RETIRING, CellState.LOST, CellState.GONE})

_Wire = Stream[wire.ServicesInput, wire.ServicesOutput]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """How names are answered: by a cluster's own name server, or by the controller. `networks` are those of Services;
    none is "not known".
    """

    domain: str
    clustered: bool
    name_server: str = ""
    networks: tuple[str, ...] = ()


class Room:
    """Keeps each cell told. Whoever knows of Services writes them in `book`, and sets `listed` once they are there."""

    def __init__(self, tasks: asyncio.TaskGroup, cells: Cells, book: Book, facts: Facts) -> None:
        self.book = book
        self.listed = asyncio.Event()
        self._tasks = tasks
        self._cells = cells
        self._facts = facts
        self._telling: dict[CellName, asyncio.Task[None]] = {}

    async def watch(self) -> None:
        """Follow the fleet, for ever."""
        await self.listed.wait()
        async for cell in self._cells.watch():
            telling = self._telling.get(cell.name)
            if cell.state is CellState.CLAIMED and cell.claim is not None and telling is None:
                self._telling[cell.name] = self._tasks.create_task(self._keep(cell), name=f"Services of {cell.name}")
            elif cell.state in _OVER and telling is not None:
                telling.cancel()

    def close(self) -> None:
        """Tell nobody any more; cells keep what they hold."""
        for task in tuple(self._telling.values()):
            task.cancel()

    async def _keep(self, cell: Cell) -> None:
        assert cell.claim is not None
        try:
            while True:
                channel = await self._cells.connected(cell.name)
                try:
                    with settled():
                        async with cell_grpc.CellStub(channel).Services.open() as stream:
                            await self._told(cell.name, cell.claim.pod.namespace, stream)
                except Fault as fault:
                    if fault.kind is Kind.UNSUPPORTED:
                        log.warning("a cell's agent knows no Services", cell=cell.name)
                        return
                    log.info("a cell is not told of Services now", cell=cell.name, cause=str(fault))
                except ExceptionGroup as several:
                    log.info("a cell is not told of Services now", cell=cell.name, cause=str(several.exceptions[0]))
                await asyncio.sleep(PAUSE)
        except Fault:
            return  # it is lost or gone
        finally:
            self.book.leave(cell.name)
            self._telling.pop(cell.name, None)

    async def _told(self, name: CellName, namespace: str, stream: _Wire) -> None:
        bell = asyncio.Event()
        bell.set()
        self.book.join(name, namespace, bell.set)
        start = wire.ServicesStart(
            domain=self._facts.domain, name_server=self._name_server(), networks=self._networks()
        )
        sending = asyncio.Lock()
        await stream.send_message(wire.ServicesInput(start=start))
        async with asyncio.TaskGroup() as both:
            hearing = both.create_task(self._hear(name, stream, sending))
            changing = both.create_task(self._change(name, stream, bell, sending))
            await asyncio.wait((hearing, changing), return_when=asyncio.FIRST_COMPLETED)
            hearing.cancel()
            changing.cancel()

    async def _change(self, name: CellName, stream: _Wire, bell: asyncio.Event, sending: asyncio.Lock) -> None:
        while True:
            await bell.wait()
            bell.clear()
            async with sending:
                if (changes := self.book.due(name)) is not None:
                    await stream.send_message(wire.ServicesInput(changes=changes))

    async def _hear(self, name: CellName, stream: _Wire, sending: asyncio.Lock) -> None:
        pace = _Pace(time.monotonic)
        async for said in stream:
            match said.WhichOneof("output"):
                case "question":
                    await pace.next()
                    answer = self._answer(name, said.question)
                    async with sending:
                        # What the pod is about to dial goes before the answer.
                        if (changes := self.book.due(name)) is not None:
                            await stream.send_message(wire.ServicesInput(changes=changes))
                        await stream.send_message(wire.ServicesInput(answer=answer))
                case "dialled":
                    await pace.next()
                    if (key := self.book.at(said.dialled)) is not None:
                        self.book.want(name, key, MOST_WANTED)
                case "failure":
                    log.warning("a cell could not take Services", cell=name, cause=said.failure.message[:500])
                case _:
                    continue

    def _answer(self, name: CellName, question: wire.NameQuestion) -> wire.NameAnswer:
        asked = question.name[:255].lower()
        key = names.service_asked(asked, self._facts.domain)
        sequence = self.book.want(name, key, MOST_WANTED) if key is not None else 0
        said = None if self._facts.clustered else names.answer(self.book, self._facts.domain, asked, question.type)
        said = said or wire.NameAnswer(known=False)
        said.id, said.sequence = question.id, sequence
        return said

    def _networks(self) -> tuple[str, ...]:
        """Where Services are: the range of the settings, or what a cluster's own addresses show of its range."""
        if self._facts.networks:
            return self._facts.networks
        return model.networks(address for one in self.book.services.values() for address in one.cluster)

    def _name_server(self) -> str:
        if not self._facts.clustered:
            return ""
        found = self.book.services.get(CLUSTER_DNS)
        return self._facts.name_server or (found.cluster[0] if found is not None and found.cluster else "")


class _Pace:
    """Lets a burst through, then so many a second."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left = BURST
        self._at = now()

    async def next(self) -> None:
        now = self._now()
        self._left = min(BURST, self._left + (now - self._at) * QUESTIONS_PER_SECOND) - 1
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / QUESTIONS_PER_SECOND)


@asynccontextmanager
async def running(settings: Services, cells: Cells, node: str, *, clustered: bool) -> AsyncGenerator[Room]:
    """The room, which has the book in which Services are to be written."""
    named = {(namespace, name) for namespace, _, name in (one.partition("/") for one in settings.common)}
    book = Book(node, COMMON | named | ({CLUSTER_DNS} if clustered else set()))
    facts = Facts(
        domain=settings.domain,
        clustered=clustered,
        name_server=settings.name_server,
        networks=() if clustered else tuple(filter(None, (settings.addresses, settings.addresses6))),
    )
    async with asyncio.TaskGroup() as tasks:
        room = Room(tasks, cells, book, facts)
        watching = tasks.create_task(room.watch(), name="services watch cells")
        try:
            yield room
        finally:
            watching.cancel()
            room.close()
