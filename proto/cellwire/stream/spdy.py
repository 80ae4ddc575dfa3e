"""SPDY/3.1 frames, as a kubelet and kubectl speak them; no I/O.

`Decoder` turns received bytes into events, `Encoder` makes frames to send; each holds the one compression context of
its direction. Payload of DATA frames is passed on as it arrives, never waited for, so only control frames need a size
limit. SETTINGS and WINDOW_UPDATE are read over: the implementations that we meet use no SPDY flow control.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cellwire.stream.spdy_dictionary import DICTIONARY

VERSION = 3
FIN = 0x01
UNIDIRECTIONAL = 0x02
MAX_DATA = (1 << 24) - 1
"""A frame's length field has 24 bits."""

_ROW = 64
"""Frames whose payload is passed on together: theirs may be a byte each."""

_HEADER = struct.Struct(">II")
_LONG = struct.Struct(">I")
_CONTROL_BIT = 0x80000000
_STREAM_MASK = 0x7FFFFFFF


class FrameKind(enum.IntEnum):
    """Types of control frames."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class Reset(enum.IntEnum):
    """Why a stream is reset."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6


class Malformed(Exception):
    """The peer broke the protocol: the connection must end, with this reason."""


@dataclass(frozen=True, slots=True)
class SpdyLimits:
    """Limits of one SPDY peer."""

    control_frame: int = 64 * 1024
    """Bytes of one control frame as sent."""
    header_block: int = 64 * 1024
    """Bytes of one header block, inflated."""
    headers: int = 100
    """Names in one header block."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """SYN_STREAM."""

    stream: int
    headers: Mapping[str, str]
    fin: bool
    unidirectional: bool


@dataclass(frozen=True, slots=True)
class Replied:
    """SYN_REPLY: the peer accepted a stream of ours."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class MoreHeaders:
    """HEADERS on an open stream."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


class Data(NamedTuple):
    """Payload, whole or in part, of one DATA frame or of several in a row; `fin` comes with the last of a stream."""

    stream: int
    payload: bytes | memoryview
    fin: bool


@dataclass(frozen=True, slots=True)
class WasReset:
    """RST_STREAM."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Pinged:
    """PING, in either direction: who receives one with a number of the peer's parity sends it back."""

    number: int


@dataclass(frozen=True, slots=True)
class GoingAway:
    """GOAWAY: the peer will open no more streams."""

    last_stream: int


ControlEvent = StreamOpened | Replied | MoreHeaders | WasReset | Pinged | GoingAway
Event = Data | ControlEvent


class Decoder:
    """Received bytes to events. After `Malformed` it must not be fed again."""

    def __init__(self, limits: SpdyLimits | None = None) -> None:
        self._limits = limits or SpdyLimits()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._pending = bytearray()  # a frame's header or a control frame that has not wholly arrived
        self._needed = _HEADER.size
        self._data_stream = 0
        self._data_left = 0  # payload of the present DATA frame still to come
        self._data_fin = False

    def receive(self, received: bytes) -> Iterator[Event]:
        """Events in `received`, in order. A payload may be a view of `received`. Exhaust it before the next call."""
        view = memoryview(received)
        at, end = 0, len(received)
        while at < end:
            if self._data_left:
                row, at = self._row(view, at)
                payload = row[0] if len(row) == 1 else b"".join(row)
                yield Data(self._data_stream, payload, fin=self._data_fin and not self._data_left)
                continue
            if not self._pending and end - at >= _HEADER.size:
                first, second = _HEADER.unpack_from(received, at)
                if not first & _CONTROL_BIT:
                    at += _HEADER.size
                    if (empty := self._begin_data(first, second)) is not None:
                        yield empty
                    continue
            taken = min(self._needed - len(self._pending), end - at)
            self._pending += view[at : at + taken]
            at += taken
            if len(self._pending) == self._needed:
                yield from self._complete()

    def _row(self, view: memoryview, at: int) -> tuple[list[memoryview], int]:
        """Payloads of the present DATA frame, and of those of its stream that follow it at once; where they end."""
        row: list[memoryview] = []
        end, left = len(view), self._data_left
        while True:
            upto = min(at + left, end)
            row.append(view[at:upto])
            left -= upto - at
            at = upto
            if left or self._data_fin or end - at < _HEADER.size or len(row) == _ROW:
                break
            first, second = _HEADER.unpack_from(view, at)
            if first != self._data_stream or not 0 < second <= MAX_DATA:
                break
            left = second
            at += _HEADER.size
        self._data_left = left
        return row, at

    def _begin_data(self, first: int, second: int) -> Data | None:
        """A frame of data begins; where it has no payload, it is whole."""
        if first == 0:
            raise Malformed("a DATA frame on stream 0")
        self._data_stream, self._data_left, self._data_fin = first, second & MAX_DATA, bool(second >> 24 & FIN)
        return None if self._data_left else Data(first, b"", self._data_fin)

    def _complete(self) -> Iterator[Event]:
        """`_pending` holds what was needed: a frame's header, or a whole control frame."""
        first, second = _HEADER.unpack_from(self._pending)
        if not first & _CONTROL_BIT:
            self._pending.clear()
            if (empty := self._begin_data(first, second)) is not None:
                yield empty
            return
        length = second & MAX_DATA
        if len(self._pending) == _HEADER.size and length:
            if length > self._limits.control_frame:
                raise Malformed(f"a control frame of {length} bytes; the limit is {self._limits.control_frame}")
            self._check_version(first)
            self._needed = _HEADER.size + length
            return
        self._check_version(first)
        body = bytes(self._pending[_HEADER.size :])
        self._pending.clear()
        self._needed = _HEADER.size
        event = self._control(first & 0xFFFF, second >> 24, body)
        if event is not None:
            yield event

    @staticmethod
    def _check_version(first: int) -> None:
        version = first >> 16 & 0x7FFF
        if version != VERSION:
            raise Malformed(f"a control frame of SPDY version {version}")

    def _control(self, kind: int, flags: int, body: bytes) -> Event | None:
        fin = bool(flags & FIN)
        match kind:
            case FrameKind.SYN_STREAM:
                stream = _long(body, 0, "SYN_STREAM", 10)
                return StreamOpened(stream, self._headers(body[10:]), fin, bool(flags & UNIDIRECTIONAL))
            case FrameKind.SYN_REPLY:
                return Replied(_long(body, 0, "SYN_REPLY", 4), self._headers(body[4:]), fin)
            case FrameKind.HEADERS:
                return MoreHeaders(_long(body, 0, "HEADERS", 4), self._headers(body[4:]), fin)
            case FrameKind.RST_STREAM:
                return WasReset(_long(body, 0, "RST_STREAM", 8), _LONG.unpack_from(body, 4)[0])
            case FrameKind.PING:
                _long(body, 0, "PING", 4)
                return Pinged(_LONG.unpack_from(body)[0])
            case FrameKind.GOAWAY:
                return GoingAway(_long(body, 0, "GOAWAY", 4))
            case _:
                return None  # the protocol says to ignore what one does not know

    def _headers(self, block: bytes) -> dict[str, str]:
        """Inflate and take apart one header block."""
        try:
            plain = self._inflate.decompress(block, self._limits.header_block + 1)
        except zlib.error as error:
            raise Malformed(f"a header block that does not inflate ({error})") from None
        if len(plain) > self._limits.header_block or self._inflate.unconsumed_tail:
            raise Malformed(f"a header block of more than {self._limits.header_block} bytes")
        if self._inflate.eof:
            raise Malformed("the end of the compression in a header block")
        return _split_headers(plain, self._limits.headers)


def _long(body: bytes, at: int, kind: str, least: int) -> int:
    if len(body) < least:
        raise Malformed(f"a {kind} frame of {len(body)} bytes")
    return _LONG.unpack_from(body, at)[0] & _STREAM_MASK


def _split_headers(plain: bytes, limit: int) -> dict[str, str]:
    """Names, lower-cased, to values. Of several values under one name the first counts."""
    if len(plain) < _LONG.size:
        raise Malformed("a header block without a count")
    (count,) = _LONG.unpack_from(plain)
    if count > limit:
        raise Malformed(f"{count} headers; the limit is {limit}")
    at = _LONG.size
    fields: list[str] = []
    for _ in range(2 * count):
        if len(plain) < at + _LONG.size:
            raise Malformed("a header block that ends early")
        (length,) = _LONG.unpack_from(plain, at)
        at += _LONG.size + length
        if len(plain) < at:
            raise Malformed("a header block that ends early")
        fields.append(plain[at - length : at].decode("utf-8", "replace"))
    headers: dict[str, str] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        headers.setdefault(name.lower(), value.partition("\0")[0])
    return headers


class Encoder:
    """Frames to send. The bytes must be written in the order in which they were made: headers share one compression."""

    def __init__(self) -> None:
        # A window of 2 KiB holds the dictionary and our few headers; the default would cost 256 KiB a connection.
        self._deflate = zlib.compressobj(level=6, wbits=11, memLevel=4, zdict=DICTIONARY)

    def open(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """SYN_STREAM."""
        block = self._block(headers)
        return _control(FrameKind.SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + block, FIN if fin else 0)

    def reply(self, stream: int, headers: Mapping[str, str] | None = None) -> bytes:
        """SYN_REPLY: a stream of the peer's is accepted."""
        return _control(FrameKind.SYN_REPLY, _LONG.pack(stream) + self._block(headers or {}))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = bytearray(_LONG.pack(len(headers)))
        for name, value in headers.items():
            for field in (name.lower().encode(), value.encode()):
                plain += _LONG.pack(len(field)) + field
        return self._deflate.compress(bytes(plain)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def data_header(stream: int, length: int, *, fin: bool = False) -> bytes:
    """What precedes `length` bytes of payload in a DATA frame."""
    return _HEADER.pack(stream, (FIN << 24 if fin else 0) | length)


def reset(stream: int, status: Reset) -> bytes:
    """RST_STREAM."""
    return _control(FrameKind.RST_STREAM, _HEADER.pack(stream, status))


def ping(number: int) -> bytes:
    """PING, or the answer to one."""
    return _control(FrameKind.PING, _LONG.pack(number))


def going_away(last_stream: int, status: int = 0) -> bytes:
    """GOAWAY: status 0 is an orderly end, 1 a protocol error."""
    return _control(FrameKind.GOAWAY, _HEADER.pack(last_stream, status))


def _control(kind: FrameKind, body: bytes, flags: int = 0) -> bytes:
    return _HEADER.pack(_CONTROL_BIT | VERSION << 16 | kind, flags << 24 | len(body)) + body
