"""What the controller asks of its memory: small records under a kind and a key.

Values are msgpack (see codec). Every write is durable when the call returns. `revision` rises with every write to
the store; compare-and-swap on it is what makes one leader's write win.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Stored(msgspec.Struct, frozen=True):
    """A record as stored: its bytes and the revision of its last write."""

    key: str
    value: bytes
    revision: int


class Store(Protocol):
    """Records by kind and key."""

    async def get(self, kind: str, key: str) -> Stored | None:
        """One record, or None."""
        ...

    async def list(self, kind: str) -> tuple[Stored, ...]:
        """All records of a kind, by key."""
        ...

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        """Write; returns the new revision. `expected` 0 means "must not exist", another number "must be at that
        revision", None "whatever is there". Raises Fault EXISTS where the expectation fails.
        """
        ...

    async def delete(self, kind: str, key: str) -> None:
        """Remove; the absent is no error."""
        ...

    def check_lead(self) -> None:
        """Nothing while nobody else can be writing here; asked before what cannot be taken back is done elsewhere.
        Raises Fault UNAVAILABLE where another controller may lead by now.
        """
        ...
