"""A store that forgets, for tests of what uses one. It passes the contract of stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from cellwire.faults import Fault, Kind
from controller.sandboxes.memory import Memory
from controller.store.record_store import Store, Stored
from hostkit.tasks import Finishing


class MemoryStore:
    """See `controller.store.record_store.Store`."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], Stored] = {}
        self.revision = 0

    async def get(self, kind: str, key: str) -> Stored | None:
        return self.records.get((kind, key))

    async def list(self, kind: str) -> tuple[Stored, ...]:
        return tuple(self.records[each] for each in sorted(self.records) if each[0] == kind)

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        present = self.records.get((kind, key))
        at = present.revision if present else 0
        if expected is not None and expected != at:
            raise Fault(Kind.EXISTS, f"record {kind}/{key}", f"it is at revision {at}, not {expected}")
        self.revision += 1
        self.records[kind, key] = Stored(key, value, self.revision)
        return self.revision

    async def delete(self, kind: str, key: str) -> None:
        self.revision += 1
        self.records.pop((kind, key), None)

    def check_lead(self) -> None:
        """Nobody else has it."""


@asynccontextmanager
async def remembering(store: Store | None = None) -> AsyncGenerator[Memory]:
    """The memory of sandboxes and containers over a store, one that forgets for None."""
    async with asyncio.TaskGroup() as tasks:
        yield Memory(store or MemoryStore(), Finishing(tasks), "shim")
