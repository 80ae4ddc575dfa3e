"""The cells: the one owner of their records, in memory and in the store.

A record is written before it is believed, and believed before anybody is told. A change whose caller was cancelled is
finished all the same, so that memory and store never part. What is not stored (connection, heartbeat) is kept here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from cellwire.faults import Fault, Kind
from controller.fleet.watchers import Watchers
from controller.model.cell import Cell, CellState, known_by
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.transitions import LIVE, Ended, Event, step
from controller.store.record_store import Store, decode, encode
from hostkit.tasks import Finishing, KeyedLocks

T = TypeVar("T")
KIND = "cells"
Clock = Callable[[], float]


class CellStore:
    """Cells by name. `tasks` outlives every caller."""

    def __init__(self, store: Store, tasks: asyncio.TaskGroup, clock: Clock) -> None:
        self._store = store
        self._finishing = Finishing(tasks)
        self._clock = clock
        self._cells: dict[CellName, Cell] = {}
        self._revisions: dict[CellName, int] = {}
        self._of_pod: dict[tuple[PodUid, int], CellName] = {}
        self._of_uid: dict[PodUid, set[CellName]] = {}
        """The cells of all attempts of each pod."""
        self._unclaimed: dict[CellName, None] = {}
        self._of_instance: dict[InstanceId, CellName] = {}
        self._of_address: dict[str, CellName] = {}
        self._of_token: dict[str, set[CellName]] = {}
        """The cells that are launched with each join token, by its hash: many may have the same."""
        self._locks = KeyedLocks[CellName]()
        self._watchers = Watchers()

    async def load(self) -> None:
        """Read what an earlier life wrote."""
        for stored in await self._store.list(KIND):
            cell = known_by(decode(stored.value, Cell), self._clock())
            self._revisions[cell.name] = stored.revision
            self._keep(cell)

    def set_back(self, now: float) -> None:
        """The clock was set back to `now`: what is known of each cell is known by then."""
        for cell in self.every():
            self._cells[cell.name] = known_by(cell, now)

    def check_lead(self) -> None:
        """Raise Fault UNAVAILABLE where another controller may lead by now, who knows of cells that are not here."""
        self._store.check_lead()

    def get(self, name: CellName) -> Cell | None:
        """The cell as known now."""
        return self._cells.get(name)

    def all(self) -> tuple[Cell, ...]:
        """All cells, by name."""
        return tuple(self._cells[name] for name in sorted(self._cells))

    def every(self) -> tuple[Cell, ...]:
        """All cells, in any order."""
        return tuple(self._cells.values())

    def of_pod(self, uid: PodUid, attempt: int) -> Cell | None:
        """The live cell of a pod's attempt."""
        name = self._of_pod.get((uid, attempt))
        return self._cells.get(name) if name else None

    def of_attempts(self, uid: PodUid) -> tuple[Cell, ...]:
        """The cells that were made for a pod, for whichever attempt, and are not gone."""
        return tuple(self._cells[name] for name in self._of_uid.get(uid, ()))

    def unclaimed(self) -> tuple[Cell, ...]:
        """The cells that are nobody's yet."""
        return tuple(self._cells[name] for name in self._unclaimed)

    def of_instance(self, instance: InstanceId) -> Cell | None:
        """The cell on an instance."""
        name = self._of_instance.get(instance)
        return self._cells.get(name) if name else None

    def at(self, address: str) -> bool:
        """Whether a cell's instance has this address."""
        return address in self._of_address

    async def add(self, cell: Cell) -> Cell:
        """Write a new cell down."""
        # Its pod is taken at once: two callers for one pod must not make two cells. Its lock, free as nobody knows the
        # name yet, is held until the record is written: nothing happens to the cell before.
        lock = self._locks[cell.name]
        await lock.acquire()
        self._keep(cell)
        return await self._finishing.done(self._added(cell, lock))

    async def change(self, name: CellName, event: Event) -> Cell:
        """Let an event happen to a cell. Raises InvalidStep, or Fault NOT_FOUND for a cell that is not there."""
        return await self._finishing.done(self._changed(name, event))

    async def forget(self, name: CellName) -> None:
        """The cell is gone; watchers see it once more."""
        await self._finishing.done(self._forgotten(name))

    def heard(self, name: CellName, at: float) -> None:
        """The cell lives. Told to nobody."""
        cell = self._cells.get(name)
        if cell is not None:
            self._cells[name] = msgspec.structs.replace(cell, last_heartbeat=at)

    def connect(self, name: CellName, *, connected: bool) -> None:
        """The cell's connection stands, or does no more."""
        cell = self._cells.get(name)
        if cell is not None and cell.connected is not connected:
            self._cells[name] = msgspec.structs.replace(cell, connected=connected)
            self._watchers.tell(self._cells[name])

    def note(self, name: CellName, reason: str) -> None:
        """Why the cell is not further than it is, until its state changes. Not stored."""
        cell = self._cells.get(name)
        if cell is not None and cell.reason != reason:
            self._cells[name] = msgspec.structs.replace(cell, reason=reason)
            self._watchers.tell(self._cells[name])

    def watch(self) -> AsyncIterator[Cell]:
        """Every cell as it is now, then each change."""
        return self._watchers.watch(self.all)

    async def until(self, name: CellName | None, ready: Callable[[], T | None]) -> T:
        """Wait until `ready` answers; it is asked again after each change of that cell (None: of any)."""
        with self._watchers.bell(name) as bell:
            while (answer := ready()) is None:
                await bell.wait()
                bell.clear()
            return answer

    async def launched_on(self, instance: InstanceId, token_hash: str) -> Cell | None:
        """The cell on an instance. Waits while the answer to any launch with its join token is not written down, for
        it may be this instance.
        """
        with self._watchers.bell(instance, token_hash) as bell:
            while (cell := self.of_instance(instance)) is None and token_hash in self._of_token:
                await bell.wait()
                bell.clear()
            return cell

    async def _added(self, cell: Cell, lock: asyncio.Lock) -> Cell:
        try:
            self._revisions[cell.name] = await self._store.put(KIND, cell.name, encode(_stored(cell)), expected=0)
        except Fault:
            self._drop(cell)
            raise
        finally:
            lock.release()
        self._watchers.tell(cell)
        return cell

    async def _changed(self, name: CellName, event: Event) -> Cell:
        async with self._locks[name]:
            cell = self._cells.get(name)
            if cell is None:
                raise Fault(Kind.NOT_FOUND, f"cell {name}", "there is none of that name")
            after = step(cell, event, self._clock())
            if after == cell:
                return cell
            revision = self._revisions.get(name, 0)
            self._revisions[name] = await self._store.put(KIND, name, encode(_stored(after)), expected=revision)
            # A heartbeat may have come while the record was written.
            cell = self._cells[name]
            after = msgspec.structs.replace(after, connected=cell.connected, last_heartbeat=cell.last_heartbeat)
            after = known_by(after, self._clock())
            self._keep(after)
        self._watchers.tell(after)
        return after

    async def _forgotten(self, name: CellName) -> None:
        async with self._locks[name]:
            cell = self._cells.get(name)
            if cell is None:
                return
            await self._store.delete(KIND, name)
            if cell.state is not CellState.GONE:
                cell = step(cell, Ended(), self._clock())
            self._drop(cell)
            self._revisions.pop(name, None)
        self._watchers.tell(msgspec.structs.replace(cell, connected=False))

    def _keep(self, cell: Cell) -> None:
        self._drop_token(cell.name)
        self._cells[cell.name] = cell
        if cell.state is CellState.LAUNCHING:
            self._of_token.setdefault(cell.join_token_hash, set()).add(cell.name)
        if cell.instance is not None:
            self._of_instance[cell.instance] = cell.name
        if cell.address:
            self._of_address[cell.address] = cell.name
        if cell.claim is None:
            self._unclaimed[cell.name] = None
        else:
            self._unclaimed.pop(cell.name, None)
            self._of_uid.setdefault(cell.claim.pod.uid, set()).add(cell.name)
            pod = (cell.claim.pod.uid, cell.claim.pod.attempt)
            if cell.state in LIVE:
                self._of_pod[pod] = cell.name
            elif self._of_pod.get(pod) == cell.name:
                del self._of_pod[pod]

    def _drop(self, cell: Cell) -> None:
        self._drop_token(cell.name)
        self._cells.pop(cell.name, None)
        self._unclaimed.pop(cell.name, None)
        if cell.instance is not None:
            self._of_instance.pop(cell.instance, None)
        if self._of_address.get(cell.address) == cell.name:
            del self._of_address[cell.address]
        if cell.claim is not None:
            attempts = self._of_uid.get(cell.claim.pod.uid, set())
            attempts.discard(cell.name)
            if not attempts:
                self._of_uid.pop(cell.claim.pod.uid, None)
            pod = (cell.claim.pod.uid, cell.claim.pod.attempt)
            if self._of_pod.get(pod) == cell.name:
                del self._of_pod[pod]

    def _drop_token(self, name: CellName) -> None:
        before = self._cells.get(name)
        if before is None or before.state is not CellState.LAUNCHING:
            return
        launching = self._of_token[before.join_token_hash]
        launching.discard(name)
        if not launching:
            del self._of_token[before.join_token_hash]
            self._watchers.ring(before.join_token_hash)

    async def owned(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end, whatever happens to the caller."""
        return await self._finishing.done(work)

    def soon(self, name: CellName, event: Event) -> None:
        """As `change`, for one who does not wait and for whom a failure is only worth a line in the log."""
        self._finishing.soon(self._changed(name, event))


def _stored(cell: Cell) -> Cell:
    return msgspec.structs.replace(cell, connected=False, last_heartbeat=0.0)
