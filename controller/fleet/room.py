"""The fleet's room: cells for pods, as `fleet.cells.Cells` promises, and admission for the link.

Opening it reads the records of an earlier life; claimed cells stay claimed and are expected to redial.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from grpclib.client import Channel

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Cloud
from controller.clouds.userdata import UserData
from controller.fleet.act import Actor
from controller.fleet.book import Book
from controller.fleet.plan import Limits
from controller.fleet.reconciler import Reconciler
from controller.link.admission import Admitted, check
from controller.link.port import Link
from controller.model import steps
from controller.model.cell import Cell, CellState
from controller.model.instance import Identity
from controller.model.names import CellName
from controller.model.pod import PodClaim
from controller.model.steps import ENDED, LIVE
from controller.store.protocol import Store

# An instance may dial before its launch call has returned.
KNOWN_WITHIN = 15.0


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`cluster` tags every instance; `registries` and `heartbeat_seconds` are told to each cell."""

    cluster: str = "default"
    registries: tuple[wire.Registry, ...] = ()
    heartbeat_seconds: float = 5.0
    limits: Limits = Limits()


class Fleet:
    """See `controller.fleet.cells.Cells` and `controller.link.admission.Admission`."""

    def __init__(self, settings: FleetSettings, book: Book, link: Link, actor: Actor) -> None:
        self._settings = settings
        self._book = book
        self._link = link
        self._actor = actor

    async def claim(self, claim: PodClaim) -> Cell:
        """The cell of this pod attempt, claimed and connected."""
        cell = self._of_pod(claim) or self._warm(claim)
        if cell is None:
            now = time.time()
            cell = Cell(
                name=CellName("c-" + secrets.token_hex(5)),
                state=CellState.REQUESTED,
                demand=claim.demand,
                claim=claim,
                created_at=now,
                changed_at=now,
                moments={"requested": now},
            )
            fault = await self._actor.fits(cell)
            if fault is not None:
                raise fault
            # Nothing is awaited between the look for the pod's cell and here but the look at offers.
            cell = self._of_pod(claim) or cell
            if self._book.get(cell.name) is None:
                await self._book.add(cell)
        return await self._until_claimed(cell.name, claim)

    async def release(self, name: CellName, reason: str) -> None:
        """The pod is over: retire the cell."""
        cell = self._book.get(name)
        if cell is not None and cell.state in LIVE:
            await self._book.step(name, steps.Retired(reason))

    def get(self, name: CellName) -> Cell | None:
        """The cell as known now."""
        return self._book.get(name)

    def list(self) -> tuple[Cell, ...]:
        """All cells that are not gone, by name."""
        return self._book.all()

    def channel(self, name: CellName) -> Channel:
        """The channel to a connected cell. Raises Fault UNAVAILABLE."""
        return self._link.channel(name)

    async def connected(self, name: CellName) -> Channel:
        """The channel, once the cell is connected. Raises Fault UNAVAILABLE once it is lost or gone."""
        while True:
            cell = self._book.get(name)
            if cell is None or cell.state in ENDED:
                raise self._over(name, cell)
            try:
                return self._link.channel(name)
            except Fault:
                await self._book.until_changed()

    def watch(self) -> AsyncIterator[Cell]:
        """Every cell as it is now, then each change."""
        return self._book.watch()

    async def admit(self, token: str, identity: Identity) -> Admitted:
        """Let an instance join as its cell. Raises Fault DENIED."""
        try:
            async with asyncio.timeout(KNOWN_WITHIN):
                while self._book.on_instance(identity.instance) is None and self._launching():
                    await self._book.until_changed()
        except TimeoutError:
            pass
        cell = check(self._book.on_instance(identity.instance), token, identity, time.time())
        await self._book.step(cell.name, steps.Joined())
        settings = wire.CellSettings(
            registries=self._settings.registries,
            heartbeat_interval_ms=int(self._settings.heartbeat_seconds * 1000),
            pod_address=f"{cell.pod_address}/32" if cell.pod_address else "",
        )
        return Admitted(cell.name, settings)

    async def hear(self) -> None:
        """Take what cells say into the book, for ever."""
        async for change in self._link.changes():
            moments: dict[str, float] = {}
            if change.message is not None and change.message.HasField("hello"):
                moments = {f"cell {name}": at for name, at in change.message.hello.moments.items()}
            if change.kind == "connected":
                moments = {"connected": time.time()}
            await self._book.hear(change.cell, connected=change.kind != "disconnected", moments=moments)
            cell = self._book.get(change.cell)
            if cell is None or cell.state in ENDED:
                self._link.disconnect(change.cell)

    def _launching(self) -> bool:
        return any(cell.state is CellState.LAUNCHING for cell in self._book.all())

    def _of_pod(self, claim: PodClaim) -> Cell | None:
        wanted = (claim.pod.uid, claim.pod.attempt)
        for cell in self._book.all():
            if cell.state in LIVE and cell.claim and (cell.claim.pod.uid, cell.claim.pod.attempt) == wanted:
                return cell
        return None

    def _warm(self, claim: PodClaim) -> Cell | None:
        for cell in self._book.all():
            if cell.claim is None and cell.state is CellState.READY and cell.connected and cell.offer:
                shape = cell.offer.shape
                if shape.cpu_millis >= claim.demand.cpu_millis and shape.memory_mib >= claim.demand.memory_mib:
                    return cell
        return None

    async def _until_claimed(self, name: CellName, claim: PodClaim) -> Cell:
        while True:
            cell = self._book.get(name)
            if cell is None or cell.state in ENDED:
                raise self._book.faults.pop(name, None) or self._over(name, cell)
            if cell.state is CellState.READY and cell.connected:
                cell = await self._book.step(name, steps.Claimed(claim))
            if cell.state is CellState.CLAIMED and cell.connected:
                return cell
            await self._book.until_changed()

    def _over(self, name: CellName, cell: Cell | None) -> Fault:
        why = f"it is {cell.state.value}: {cell.reason}" if cell else "it is gone"
        return Fault(Kind.UNAVAILABLE, f"cell {name}", why, reason="CellLost")


@asynccontextmanager
async def running(settings: FleetSettings, store: Store, cloud: Cloud, link: Link) -> AsyncGenerator[Fleet]:
    """The fleet, for as long as the context lives. Cells and pods outlive it."""
    book = Book(store)
    await book.load()

    def facts(token: str) -> UserData:
        return UserData(controllers=link.controllers, ca=link.authority.fingerprint, token=token)

    actor = Actor(cloud, book, facts, {"chinampa.dev/cluster": settings.cluster})
    async with asyncio.TaskGroup() as tasks:
        reconciler = Reconciler(cloud, book, actor, settings.limits, tasks)
        fleet = Fleet(settings, book, link, actor)
        reconciler.start()
        hearing = tasks.create_task(fleet.hear(), name="hear the cells")
        try:
            yield fleet
        finally:
            hearing.cancel()
            reconciler.close()
