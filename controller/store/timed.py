"""A store that tells how long its writes take, and why the last one failed.

What is read is read at the start, and not measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cellwire.faults import Fault, Kind
from controller.store.record_store import Store, Stored

OnWrite = Callable[[float, str], None]
"""Told of each write that was not cancelled: its seconds, and "ok" or "failed"."""


class TimedStore:
    """See `controller.store.record_store.Store`."""

    def __init__(self, store: Store, on_write: OnWrite) -> None:
        self._store = store
        self._on_write = on_write
        self.fault = ""
        """Why the last write failed, empty where it did not."""

    async def get(self, kind: str, key: str) -> Stored | None:
        """One record, or None."""
        return await self._store.get(kind, key)

    async def list(self, kind: str) -> tuple[Stored, ...]:
        """All records of a kind, by key."""
        return await self._store.list(kind)

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        """Write; returns the new revision."""
        begun = time.monotonic()
        try:
            revision = await self._store.put(kind, key, value, expected=expected)
        except Fault as fault:
            # That another was first is an answer, not a failure of the store.
            self._wrote(begun, None if fault.kind is Kind.EXISTS else fault)
            raise
        self._wrote(begun)
        return revision

    async def delete(self, kind: str, key: str) -> None:
        """Remove; the absent is no error."""
        begun = time.monotonic()
        try:
            await self._store.delete(kind, key)
        except Fault as fault:
            self._wrote(begun, fault)
            raise
        self._wrote(begun)

    def check_lead(self) -> None:
        """See `record_store.Store`."""
        self._store.check_lead()

    def _wrote(self, begun: float, fault: Fault | None = None) -> None:
        self.fault = str(fault or "")
        self._on_write(time.monotonic() - begun, "failed" if fault else "ok")
