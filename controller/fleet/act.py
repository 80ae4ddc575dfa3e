"""Does what the plan says: the record is written first, then the cloud is asked.

A crash between the two leaves a record that the next pass acts on; the client token makes a repeated launch the same
instance. Nothing here decides what is to be done.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import structlog

from cellwire.faults import Fault, Kind
from controller.choice.catalogue import Catalogue
from controller.choice.rank import nothing_fits, rank
from controller.choice.unavailable import Unavailable, marked
from controller.choice.wishes import Wishes, read
from controller.clouds.protocol import Cloud, Launched, LaunchRequest
from controller.clouds.userdata import UserData, render
from controller.fleet.book import Book
from controller.fleet.plan import Action
from controller.link.admission import token_hash
from controller.model import steps
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance
from controller.model.names import CellName

log = structlog.get_logger()
# More rounds than this through an ever shorter list of offers are only a cloud without capacity.
ROUNDS = 5


class Actor:
    """Launches, adopts, loses and ends cells."""

    def __init__(self, cloud: Cloud, book: Book, facts: Callable[[str], UserData], tags: dict[str, str]) -> None:
        self._cloud = cloud
        self._book = book
        self._facts = facts
        self._tags = tags
        self.unavailable = Unavailable()
        self._catalogue = Catalogue(())
        self._offers: object = None

    async def catalogue(self) -> Catalogue:
        """The cloud's offers, laid out anew when they have changed."""
        offers = await self._cloud.offers()
        if offers is not self._offers:
            self._offers, self._catalogue = offers, Catalogue(offers)
        return self._catalogue

    async def launch(self, cells: Sequence[Cell]) -> None:
        """Launch an instance for each cell, in as few calls as the cloud allows."""
        requests: dict[str, tuple[CellName, LaunchRequest]] = {}
        for cell in cells:
            try:
                request = await self._request(cell)
            except Fault as fault:
                await self.fail(cell.name, fault)
                continue
            requests[request.client_token] = (cell.name, request)
        for _ in range(ROUNDS):
            if not requests:
                return
            outcomes = await self._cloud.launch([request for _, request in requests.values()])
            again: dict[str, tuple[CellName, LaunchRequest]] = {}
            for outcome in outcomes:
                name, _ = requests[outcome.client_token]
                self._remember(outcome)
                if outcome.instance is not None:
                    await self.launched(name, outcome.instance)
                elif outcome.fault_kind == Kind.NO_CAPACITY.value:
                    cell = self._book.get(name)
                    retried = await self._again(cell) if cell is not None else None
                    if retried is not None:
                        again[retried.client_token] = (name, retried)
                else:
                    await self.fail(name, Fault(_kind(outcome), f"cell {name}", outcome.fault, reason="LaunchFailed"))
            requests = again
        for name, _ in requests.values():
            cause = "the cloud has refused every offer that fits"
            await self.fail(name, Fault(Kind.NO_CAPACITY, f"cell {name}", cause, reason="InsufficientCapacity"))

    async def launched(self, name: CellName, instance: Instance) -> None:
        """The cloud has given an instance to a cell."""
        cell = self._book.get(name)
        if cell is None or cell.state is not CellState.LAUNCHING:
            return
        offer = next(
            (
                one
                for one in (await self.catalogue()).offers
                if (one.shape.type, one.zone, one.launch_type) == (instance.type, instance.zone, instance.launch_type)
            ),
            None,
        )
        event = steps.Launched(
            instance=instance.id, offer=offer, address=instance.address, pod_address=instance.pod_address
        )
        await self._book.step(name, event)

    async def lose(self, action: Action) -> None:
        """The cell is lost; the next pass ends its instance."""
        log.warning("cell lost", cell=action.cell.name, why=action.reason)
        await self._book.step(action.cell.name, steps.Lost(action.reason))

    async def terminate(self, cells: Sequence[Cell]) -> None:
        """End the instances of cells that are over, and then forget the cells."""
        instances = [cell.instance for cell in cells if cell.instance is not None]
        if instances:
            await self._cloud.terminate(instances)
        for cell in cells:
            await self._book.step(cell.name, steps.Ended())
            await self._book.forget(cell.name)

    async def fail(self, name: CellName, fault: Fault) -> None:
        """No instance for this cell: those who wait for it are told why."""
        log.warning("no instance for a cell", cell=name, cause=str(fault))
        self._book.faults[name] = fault
        await self._book.step(name, steps.Lost(str(fault)))

    async def fits(self, cell: Cell) -> Fault | None:
        """Why no offer fits the cell's demand, or None."""
        wishes = wishes_of(cell)
        catalogue = await self.catalogue()
        now = time.time()
        if rank(cell.demand, wishes, catalogue, self.unavailable, now, 1).ranked:
            return None
        return nothing_fits(cell.demand, wishes, catalogue, self.unavailable, now)

    async def _request(self, cell: Cell) -> LaunchRequest:
        token = secrets.token_urlsafe(24)
        if cell.state is CellState.LAUNCHING and cell.client_token:
            # Asked for before, answer unknown: the same client token, so that it is the same instance. Its first
            # user-data is what it has, so the join token that was written down then stays the one that counts.
            client_token = cell.client_token
            token_kept = cell.join_token_hash
        else:
            client_token = f"{cell.name}-{cell.boots + 1}"
            token_kept = token_hash(token)
        written = await self._book.step(
            cell.name, steps.Launching(client_token=client_token, join_token_hash=token_kept)
        )
        return await self._filled(written, token)

    async def _again(self, cell: Cell) -> LaunchRequest | None:
        token = secrets.token_urlsafe(24)
        client_token = f"{cell.name}-{cell.boots + 1}"
        event = steps.Launching(client_token=client_token, join_token_hash=token_hash(token))
        try:
            return await self._filled(await self._book.step(cell.name, event), token)
        except Fault as fault:
            await self.fail(cell.name, fault)
            return None

    async def _filled(self, cell: Cell, token: str) -> LaunchRequest:
        wishes = wishes_of(cell)
        catalogue = await self.catalogue()
        now = time.time()
        ranking = rank(cell.demand, wishes, catalogue, self.unavailable, now)
        if not ranking.ranked:
            raise nothing_fits(cell.demand, wishes, catalogue, self.unavailable, now)
        claim = cell.claim
        labels = dict(claim.labels) if claim else {}
        pod = {"chinampa.dev/pod": f"{claim.pod.namespace}/{claim.pod.name}"} if claim else {}
        return LaunchRequest(
            client_token=cell.client_token,
            offers=ranking.offers,
            user_data=render(self._facts(token)),
            tags={**labels, **self._tags, **pod, "chinampa.dev/cell": str(cell.name)},
            annotations=dict(claim.annotations) if claim else {},
            volume_gb=max(wishes.volume_gb, cell.demand.disk_gb),
        )

    def _remember(self, outcome: Launched) -> None:
        for refused in outcome.unfulfilled:
            key = (refused.type, refused.zone, refused.launch_type)
            self.unavailable = marked(self.unavailable, key, time.time())


def wishes_of(cell: Cell) -> Wishes:
    """What the cell's pod wishes. Raises Fault INVALID naming an annotation."""
    return read(cell.claim.annotations) if cell.claim else Wishes()


def _kind(outcome: Launched) -> Kind:
    return next((kind for kind in Kind if kind.value == outcome.fault_kind), Kind.BROKEN)
