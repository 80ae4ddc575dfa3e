"""The workers that may join or have joined: the one owner of their records, in memory and in the store."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from cellwire.faults import Fault, Kind
from controller.central import worker_records
from controller.central.worker_records import WorkerRecord
from controller.store.record_store import Store, decode, encode
from hostkit.tasks import KeyedLocks

KIND = "workers"


class WorkerRegistry:
    """All workers by name, and when each was last heard of."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._records: dict[str, WorkerRecord] = {}
        self._locks = KeyedLocks[str]()
        self._begun = now()
        self._heard: dict[str, float] = {}

    async def load(self) -> None:
        """Take up what an earlier life wrote."""
        for stored in await self._store.list(KIND):
            self._records[stored.key] = decode(stored.value, WorkerRecord)

    def list(self) -> list[WorkerRecord]:
        """All, by name."""
        return [self._records[name] for name in sorted(self._records)]

    async def issue(self, name: str, seconds: float) -> str:
        """A token by which the worker of this name can join once within so long. Raises Fault INVALID."""
        worker_records.check_name(name)
        token, now = worker_records.token_of(name, secrets.token_urlsafe(32)), self._now()
        async with self._locks[name]:
            await self._keep(worker_records.issued(self._records.get(name), name, token, now, now + seconds))
        return token

    async def join(self, token: str, key: str) -> str:
        """The name of the worker that has joined. Raises Fault DENIED."""
        name = worker_records.named_by(token)
        async with self._locks[name]:
            await self._keep(worker_records.joined(self._records.get(name), token, key, self._now()))
        return name

    async def revoke(self, name: str) -> None:
        """From now on it is nobody. Raises Fault NOT_FOUND."""
        async with self._locks[name]:
            if name not in self._records:
                raise Fault(
                    Kind.NOT_FOUND, f"worker {name}", "there is none of this name", "see chinampa token workers"
                )
            await self._store.delete(KIND, name)
            self._records.pop(name, None)
            self._heard.pop(name, None)

    def check(self, name: str, key: str) -> None:
        """Hear of a worker by its certificate. Raises Fault DENIED where it is one no more."""
        worker_records.check_caller(self._records.get(name), name, key)
        self._heard[name] = self._now()

    def heard_at(self, name: str) -> float:
        """When it was last heard of; our own start where it has not been since."""
        return self._heard.get(name, self._begun)

    async def _keep(self, record: WorkerRecord) -> None:
        await self._store.put(KIND, record.name, encode(record))
        self._records[record.name] = record
