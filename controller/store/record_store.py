"""The store's protocol: small records under a kind and a key, and their bytes.

Values are msgpack of frozen structs: fields added later need defaults, fields removed are skipped. Every write is
durable when the call returns. `revision` rises with every write to the store; compare-and-swap on it is what makes one
leader's write win.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol, TypeVar, cast

import msgspec

from cellwire.faults import Fault, Kind

LEAD_LOST = "LeadLost"
"""The reason of faults that say so."""


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


T = TypeVar("T", bound=msgspec.Struct)


@cache
def _decoder(kind: type[msgspec.Struct]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def encode(record: msgspec.Struct) -> bytes:
    """The bytes to store."""
    return msgspec.msgpack.encode(record)


def decode(value: bytes, kind: type[T]) -> T:
    """The record. Raises Fault BROKEN for bytes that are none of this kind."""
    try:
        return cast("T", _decoder(kind).decode(value))
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        thing = f"stored {kind.__name__}"
        raise Fault(Kind.BROKEN, thing, f"it cannot be read: {error}", "was it written by a newer version?") from error
