"""Messages of which one field of bytes is all, written and read without a copy of the bytes. No I/O.

Protobuf copies what it is given and what it gives, and gRPC once more to put a length before it. A message that carries
bytes of a session is known by its first bytes, as it is on the wire: a tag and a length that spans all that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.message import Message

LEAST = 16 << 10
"""Octets from which on a message is worth it: a shorter one is written and read as any other."""
CARRIERS = frozenset(
    f"chinampa.cell.v1.{name}" for name in ("SessionInput", "SessionOutput", "PortForwardInput", "PortForwardOutput")
)
"""The messages whose receivers know `Carried`."""
LEAD = 6
"""Octets of a tag and a length below 4 GiB."""
_BYTES = 2  # of wire types
_LAST_SMALL_TAG = 15


Piece = bytes | memoryview
"""Some bytes; a view is of what nobody changes."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A message of this type, of which the one field that is set holds these bytes, in pieces."""

    kind: type[Message]
    field: str
    pieces: Sequence[Piece]


class Octets:
    """Octets in parts. Concatenated to bytes and cut, as grpclib does, it goes on being parts."""

    __slots__ = ("_parts", "_size")

    def __init__(self, parts: Sequence[Piece]) -> None:
        self._parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size

    def __radd__(self, before: bytes) -> Octets:
        # The heads together: each part is a record of TLS, and more than one.
        return Octets((before + self._parts[0], *self._parts[1:]))

    @property
    def parts(self) -> Sequence[Piece]:
        """The parts, in order."""
        return self._parts

    def cut(self, begin: int, end: int) -> Octets:
        """Those from `begin` to before `end`."""
        found: list[Piece] = []
        at = 0
        for part in self._parts:
            first, last = max(begin - at, 0), min(end - at, len(part))
            if first < last:
                found.append(part if (first, last) == (0, len(part)) else memoryview(part)[first:last])
            at += len(part)
        return Octets(found)

    def joined(self) -> bytes:
        """All in one piece."""
        return b"".join(self._parts)


def written(message: Carried) -> Octets | bytes:
    """The message as it goes over the wire."""
    number = message.kind.DESCRIPTOR.fields_by_name[message.field].number
    head = bytes((number << 3 | _BYTES,)) + _varint(sum(map(len, message.pieces)))
    octets = Octets((head, *message.pieces))
    return octets if len(octets) >= LEAST else octets.joined()


def lead(first: bytes, size: int) -> int:
    """How many octets stand before the bytes, in a message of this size that begins with these and is nothing else but
    one field of bytes; 0 where it is something else.
    """
    if not first or first[0] & 7 != _BYTES or first[0] >> 3 > _LAST_SMALL_TAG:
        return 0
    length = shift = 0
    for at, octet in enumerate(first[1:LEAD], 2):
        length |= (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            return at if at + length == size else 0
    return 0


def read(octets: Octets, kind: type[Message]) -> Carried | None:
    """The message whose first part is its `lead`; None where its receiver wants one of protobuf's."""
    head, *pieces = octets.parts
    if kind.DESCRIPTOR.full_name not in CARRIERS:
        return None
    field = cast("Any", kind.DESCRIPTOR).fields_by_number.get(head[0] >> 3)
    if field is None or field.type != field.TYPE_BYTES:
        return None
    return Carried(kind, field.name, pieces)


def parted(message: Message | Carried, oneof: str) -> tuple[str | None, Sequence[Piece]]:
    """Which field of a oneof is set, and its bytes; none where it is of another kind."""
    if isinstance(message, Carried):
        return message.field, message.pieces
    field = message.WhichOneof(oneof)
    held: object = getattr(message, field) if field else None
    return field, (held,) if isinstance(held, bytes) else ()


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)
