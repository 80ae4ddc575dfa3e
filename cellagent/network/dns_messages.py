"""As much of DNS (RFC 1035, 2782, 6891) as a small forwarder needs: a question read, an answer written. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address

import msgspec

from cellwire.cell.v1 import cell_pb2 as wire

A, CNAME, PTR, AAAA, SRV = 1, 5, 12, 28, 33
_OPT = 41
FORMAT_ERROR, SERVER_FAILURE, NO_NAME = 1, 2, 3
SMALL = 512
# Of a message by a stream, which says its length in two bytes.
_LONGEST = 65535
_HEADER = struct.Struct(">HHHHHH")
_ANSWER, _TRUNCATED, _DESIRED, _AVAILABLE = 0x8000, 0x0200, 0x0100, 0x0080
_INTERNET = 1


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question: its number and flags, name (lower case, no last dot), type; `raw` is it as it stood; `size` is the
    most that its asker takes in a datagram.
    """

    id: int
    flags: int
    name: str
    type: int
    raw: bytes
    size: int = SMALL


def question(data: bytes) -> Question | None:
    """The one question of a query; None where it is none that can be read."""
    if len(data) < _HEADER.size:
        return None
    number, flags, questions, answers, _, more = _HEADER.unpack_from(data)
    if flags & _ANSWER or flags & 0x7800 or questions != 1 or answers:
        return None
    found = _name(data, _HEADER.size)
    if found is None or found[1] + 4 > len(data):
        return None
    name, end = found
    type_, class_ = struct.unpack_from(">HH", data, end)
    if class_ != _INTERNET:
        return None
    return Question(
        id=number, flags=flags, name=name, type=type_, raw=data[_HEADER.size : end + 4],
        size=_size(data, end + 4) if more else SMALL,
    )  # fmt: skip


def answer(asked: Question, code: int, records: Sequence[wire.NameRecord] = (), *, stream: bool = False) -> bytes:
    """The answer; cut and marked as cut where a datagram would be longer than the asker takes. By a stream, as much of
    it as there is room for.
    """
    body = [_record(record) for record in records]
    flags = _ANSWER | _AVAILABLE | (asked.flags & _DESIRED) | code
    whole = _packed(asked, flags, body)
    while stream and len(whole) > _LONGEST:
        body = body[: len(body) * _LONGEST // len(whole)]
        whole = _packed(asked, flags, body)
    if stream or len(whole) <= max(asked.size, SMALL):
        return whole
    return _packed(asked, flags | _TRUNCATED, [])


def query(number: int, name: str, type_: int) -> bytes:
    """A question to another name server, which is to look for the answer wherever that is."""
    return _HEADER.pack(number, _DESIRED, 1, 0, 0, 0) + written(name) + struct.pack(">HH", type_, _INTERNET)


def records(data: bytes) -> list[wire.NameRecord]:
    """The addresses, and the names that lead to them, of an answer. Raises ValueError for one that cannot be read."""
    try:
        _, _, questions, answers, _, _ = _HEADER.unpack_from(data)
        position = _HEADER.size
        for _ in range(questions):
            position = _compressed(data, position)[1] + 4
        found: list[wire.NameRecord] = []
        for _ in range(answers):
            name, position = _compressed(data, position)
            type_, class_, ttl, length = struct.unpack_from(">HHIH", data, position)
            position += 10
            if class_ == _INTERNET and type_ in (A, AAAA) and length == (4 if type_ == A else 16):
                text = str(ip_address(data[position : position + length]))
                found.append(wire.NameRecord(name=name, type=type_, ttl=ttl, text=text))
            elif class_ == _INTERNET and type_ == CNAME:
                target, _ = _compressed(data, position)
                found.append(wire.NameRecord(name=name, type=type_, ttl=ttl, text=target))
            position += length
    except (struct.error, IndexError) as error:
        raise ValueError(str(error)) from error
    return found


def _packed(asked: Question, flags: int, body: Sequence[bytes]) -> bytes:
    return _HEADER.pack(asked.id, flags, 1, len(body), 0, 0) + asked.raw + b"".join(body)


def _record(record: wire.NameRecord) -> bytes:
    match record.type:
        case 1 | 28:
            data = ip_address(record.text).packed
        case 33:
            data = struct.pack(">HHH", 0, 100, record.port) + written(record.text)
        case _:
            data = written(record.text)
    return written(record.name) + struct.pack(">HHIH", record.type, _INTERNET, record.ttl, len(data)) + data


def written(name: str) -> bytes:
    """A name on the wire. Labels that are too long are cut: nobody has such a name."""
    labels = [label.encode("ascii", "replace")[:63] for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _name(data: bytes, position: int) -> tuple[str, int] | None:
    """A name without pointers, as questions have it, and where it ends."""
    labels: list[str] = []
    length = 0
    while position < len(data):
        size = data[position]
        position += 1
        if size == 0:
            return ".".join(labels), position
        length += size + 1
        if size > 63 or length > 255 or position + size > len(data):
            return None
        labels.append(data[position : position + size].decode("latin-1").lower())
        position += size
    return None


def _compressed(data: bytes, position: int) -> tuple[str, int]:
    """A name as answers have it, with pointers back, and where it ends."""
    labels: list[str] = []
    end = 0
    for _ in range(128):
        size = data[position]
        if size >= 0xC0:
            end = end or position + 2
            position = (size & 0x3F) << 8 | data[position + 1]
        elif size:
            labels.append(data[position + 1 : position + 1 + size].decode("latin-1").lower())
            position += size + 1
        else:
            return ".".join(labels), end or position + 1
    raise ValueError("a name in an answer has no end")


def _size(data: bytes, position: int) -> int:
    # The pseudo-record of RFC 6891 comes alone in what resolvers send: root, type, then the size as a class.
    if data[position : position + 3] == b"\0" + _OPT.to_bytes(2, "big") and position + 5 <= len(data):
        return int.from_bytes(data[position + 3 : position + 5], "big")
    return SMALL
