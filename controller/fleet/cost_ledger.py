"""The ledger: charges each cell as time goes by, and remembers it over restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from cellwire.faults import Fault
from controller.fleet import charges
from controller.fleet.charges import Charge
from controller.model.cell import Cell
from controller.model.offer import Offer
from controller.store.record_store import Store, decode, encode

log = structlog.get_logger()
KIND = "charge"
EVERY = 60.0
DAYS = 31
DAY = 86400.0


class OfferSource(Protocol):
    """A source of offers with their prices: a cloud."""

    async def offers(self) -> tuple[Offer, ...]:
        """All that can be bought, at the prices of now."""
        ...


class Watched(Protocol):
    """Cells that can be watched: the fleet's."""

    def list(self) -> tuple[Cell, ...]:
        """All cells that are not gone, by name."""
        ...

    def watch(self) -> AsyncIterator[Cell]:
        """Every cell as it is now, then each change of state or connection, until the caller stops iterating."""
        ...


class Ledger:
    """What all cells have cost within the last days."""

    def __init__(self, store: Store, cells: Watched, sold: OfferSource, now: Callable[[], float]) -> None:
        self._store = store
        self._cells = cells
        self._sold = sold
        self._now = now
        self._until: dict[str, float] = {}
        self._newest: dict[str, Charge] = {}
        self._spent: dict[str, float] = {}
        self._turn = asyncio.Lock()

    async def load(self) -> None:
        """Take up what an earlier life has charged, and forget what is too old."""
        oldest = self._now() - DAYS * DAY
        for stored in await self._store.list(KIND):
            one = decode(stored.value, Charge)
            if one.hour < oldest:
                await self._store.delete(KIND, stored.key)
                continue
            self._spent[one.uid] = self._spent.get(one.uid, 0.0) + one.usd
            self._until[one.cell] = max(self._until.get(one.cell, 0.0), one.until)
            newest = self._newest.get(one.cell)
            if newest is None or newest.until < one.until:
                self._newest[one.cell] = one

    def spent(self, uid: str) -> float:
        """USD that a pod's cells have cost so far, as of the last look."""
        return self._spent.get(uid, 0.0)

    async def since(self, begin: float) -> list[Charge]:
        """All charges of the hours since a unix second, up to now."""
        await self.look()
        first = begin // charges.HOUR * charges.HOUR
        found = [decode(stored.value, Charge) for stored in await self._store.list(KIND)]
        return [one for one in found if one.hour >= first]

    async def look(self) -> None:
        """Charge all cells up to now."""
        known = [cell for cell in self._cells.list() if charges.paid(cell)]
        sold = charges.spot_prices(known, await self._sold.offers())
        for cell in known:
            await self._charge(cell, charges.price(cell, sold))

    async def _charge(self, cell: Cell, usd_per_hour: float) -> None:
        name = str(cell.name)
        async with self._turn:
            for more in charges.charges(cell, self._until.get(name, 0.0), self._now(), usd_per_hour):
                before = self._newest.get(name)
                one = charges.added(before if before is not None and before.key == more.key else None, more)
                await self._store.put(KIND, one.key, encode(one))
                self._newest[name], self._until[name] = one, one.until
                self._spent[more.uid] = self._spent.get(more.uid, 0.0) + more.usd

    async def keep(self) -> None:
        """Look often. Never returns."""
        pruned = time.monotonic()
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
                if time.monotonic() - pruned > DAY:
                    await self._prune()
                    pruned = time.monotonic()
            except Fault as fault:
                log.warning("cells are charged later", cause=str(fault))

    async def follow(self) -> None:
        """Charge a cell when it is handed to a pod, and when it ends. Never returns."""
        had: dict[str, Cell] = {}
        async for cell in self._cells.watch():
            name = str(cell.name)
            before = had.get(name)
            try:
                if before is not None and (before.claim != cell.claim or not charges.paid(cell)):
                    await self._charge(before, charges.price(before, {}))
            except Fault as fault:
                log.warning("a cell is charged later", cell=name, cause=str(fault))
            if charges.paid(cell):
                had[name] = cell
            else:
                for kept in (had, self._until, self._newest):
                    kept.pop(name, None)

    async def _prune(self) -> None:
        oldest = self._now() - DAYS * DAY
        for stored in await self._store.list(KIND):
            if int(stored.key.partition("/")[0]) < oldest:
                await self._store.delete(KIND, stored.key)


@asynccontextmanager
async def running(
    store: Store, cells: Watched, sold: OfferSource, now: Callable[[], float] = time.time
) -> AsyncGenerator[Ledger]:
    """Charge all cells until left."""
    ledger = Ledger(store, cells, sold, now)
    await ledger.load()
    async with asyncio.TaskGroup() as tasks:
        work = [
            tasks.create_task(ledger.keep(), name="ledger"),
            tasks.create_task(ledger.follow(), name="ledger follows cells"),
        ]
        try:
            yield ledger
        finally:
            for task in work:
                task.cancel()


def rows(found: Sequence[Charge], by: Sequence[str]) -> list[dict[str, object]]:
    """Groups as JSON."""
    return [
        {"group": list(one.group), "usd": round(one.usd, 8), "hours": round(one.seconds / charges.HOUR, 4)}
        for one in charges.grouped(found, by)
    ]
