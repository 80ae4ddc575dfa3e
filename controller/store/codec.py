"""Records as bytes: msgpack of frozen structs. Fields added later need defaults; fields removed are skipped."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from cellwire.faults import Fault, Kind

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
