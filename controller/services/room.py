"""The room: one stream to each cell that has a pod, by which it is told of Services and asks for names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import structlog

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.sandboxes.cell_calls import is_over
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.gate import ServicesStream
from controller.sandboxes.told import Dialled, NameQuery, Unapplied
from controller.services import dns_names, model
from controller.services.book import COMMON, Book
from controller.services.model import Key
from controller.services.settings import Services

log = structlog.get_logger()
# After a broken stream; the next try waits for the cell to be connected anyway.
PAUSE = 0.5
# Services of other namespaces that one cell may hold.
MOST_WANTED = 2000
CLUSTER_DNS: Key = ("kube-system", "kube-dns")
_OVER = frozenset({CellState.RETIRING, CellState.LOST, CellState.GONE})


class NameResolution(msgspec.Struct, frozen=True, kw_only=True):
    """Resolution of names: by a cluster's own name server, or by the controller. `networks` are those of Services;
    none is "not known".
    """

    domain: str
    clustered: bool
    name_server: str = ""
    networks: tuple[str, ...] = ()


class ServiceFeed:
    """Keeps each cell told. Whoever knows of Services writes them in `book`, and sets `listed` once they are there."""

    def __init__(self, tasks: asyncio.TaskGroup, cells: Cells, book: Book, facts: NameResolution) -> None:
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
            if cell.claim is not None and cell.claim.worker:
                continue  # its shim tells it
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
        there = OneCell(self._cells, cell.name)
        try:
            while True:
                try:
                    await self._told(there, cell.claim.pod.namespace)
                except Fault as fault:
                    if fault.kind is Kind.UNSUPPORTED:
                        log.warning("a cell's agent knows no Services", cell=cell.name)
                        return
                    log.info("a cell is not told of Services now", cell=cell.name, cause=str(fault))
                except ExceptionGroup as several:
                    log.info("a cell is not told of Services now", cell=cell.name, cause=str(several.exceptions[0]))
                if is_over(self._cells.get(cell.name)):
                    return
                await asyncio.sleep(PAUSE)
        finally:
            self.book.leave(cell.name)
            self._telling.pop(cell.name, None)

    async def _told(self, there: OneCell, namespace: str) -> None:
        start = wire.ServicesStart(
            domain=self._facts.domain, name_server=self._name_server(), networks=self._networks()
        )
        async with there.services(start) as stream:
            bell = asyncio.Event()
            bell.set()
            self.book.join(there.name, namespace, bell.set)
            async with asyncio.TaskGroup() as both:
                hearing = both.create_task(self._hear(there.name, stream))
                changing = both.create_task(self._change(there.name, stream, bell))
                await asyncio.wait((hearing, changing), return_when=asyncio.FIRST_COMPLETED)
                hearing.cancel()
                changing.cancel()

    async def _change(self, name: CellName, stream: ServicesStream, bell: asyncio.Event) -> None:
        while True:
            await bell.wait()
            bell.clear()
            await stream.tell(*self._due(name))

    async def _hear(self, name: CellName, stream: ServicesStream) -> None:
        async for said in stream.heard():
            match said:
                case NameQuery():
                    answer = wire.ServicesInput(answer=self._answer(name, said))
                    # What the pod is about to dial goes before the answer.
                    await stream.tell(*self._due(name), answer)
                case Dialled(address):
                    if (key := self.book.at(address)) is not None:
                        self.book.want(name, key, MOST_WANTED)
                case Unapplied(cause):
                    log.warning("a cell could not take Services", cell=name, cause=cause)

    def _due(self, name: CellName) -> tuple[wire.ServicesInput, ...]:
        changes = self.book.due(name)
        return (wire.ServicesInput(changes=changes),) if changes is not None else ()

    def _answer(self, name: CellName, question: NameQuery) -> wire.NameAnswer:
        asked = question.name.lower()
        key = dns_names.service_asked(asked, self._facts.domain)
        sequence = self.book.want(name, key, MOST_WANTED) if key is not None else 0
        said = None if self._facts.clustered else dns_names.answer(self.book, self._facts.domain, asked, question.type)
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


@asynccontextmanager
async def running(settings: Services, cells: Cells, node: str, *, clustered: bool) -> AsyncGenerator[ServiceFeed]:
    """The room, which has the book in which Services are to be written."""
    named = {(namespace, name) for namespace, _, name in (one.partition("/") for one in settings.common)}
    book = Book(node, COMMON | named | ({CLUSTER_DNS} if clustered else set()))
    facts = NameResolution(
        domain=settings.domain,
        clustered=clustered,
        name_server=settings.name_server,
        networks=() if clustered else tuple(filter(None, (settings.addresses, settings.addresses6))),
    )
    async with asyncio.TaskGroup() as tasks:
        room = ServiceFeed(tasks, cells, book, facts)
        watching = tasks.create_task(room.watch(), name="services watch cells")
        try:
            yield room
        finally:
            watching.cancel()
            room.close()
