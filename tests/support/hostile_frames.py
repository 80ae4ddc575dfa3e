"""A cell that speaks HTTP/2 by the frame: what no gRPC library would send, on a connection with a real identity."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable, Iterator

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.join import SERVER_NAME, client_context, endpoint
from cellwire.rpc.reverse import TURNED

PREFACE_BYTES, HEAD, HEADERS = 24, 9, 1
ANSWER = ((":status", "200"), ("content-type", "application/grpc+proto"))
Flood = Callable[[int], Iterator[bytes]]
"""What is sent on the stream of the cell's report, for ever, in blocks."""
SHORT = 16_000
EMPTY_HEARTBEAT = b"\0\0\0\0\2\x12\0"


def _begun(stream: int) -> bytes:
    return HeadersFrame(stream, Encoder().encode(list(ANSWER)), flags=["END_HEADERS"]).serialize()


def _for_ever(block: bytes, first: bytes = b"") -> Iterator[bytes]:
    yield first
    while True:
        yield block


def pings(stream: int) -> Iterator[bytes]:
    del stream
    return _for_ever(PingFrame(0, b"12345678").serialize() * 1000)


def settings(stream: int) -> Iterator[bytes]:
    del stream
    return _for_ever(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1000}).serialize() * 1000)


def windows(stream: int) -> Iterator[bytes]:
    return _for_ever(WindowUpdateFrame(stream, window_increment=1).serialize() * 1000)


def priorities(stream: int) -> Iterator[bytes]:
    return _for_ever(PriorityFrame(stream, depends_on=0, stream_weight=1).serialize() * 1000)


def resets(stream: int) -> Iterator[bytes]:
    return _for_ever(RstStreamFrame(stream, error_code=8).serialize() * 1000)


def unknown_frames(stream: int) -> Iterator[bytes]:
    del stream
    return _for_ever((struct.pack(">I", 8)[1:] + b"\x77\x00" + b"\x00" * 4 + b"12345678") * 1000)


def empty_data(stream: int) -> Iterator[bytes]:
    return _for_ever(DataFrame(stream, b"").serialize() * 1000, _begun(stream))


def a_byte_a_frame(stream: int) -> Iterator[bytes]:
    """Of messages that are as long as they may be."""
    whole = b"\0" + struct.pack(">I", SHORT) + b"\x0a" + b"\x80\x7d" + b"\0" * (SHORT - 3)
    frames = b"".join(DataFrame(stream, whole[at : at + 1]).serialize() for at in range(len(whole)))
    return _for_ever(frames, _begun(stream))


def messages_of_nothing(stream: int) -> Iterator[bytes]:
    """Thousands to a frame."""
    return _for_ever(DataFrame(stream, EMPTY_HEARTBEAT * 2000).serialize(), _begun(stream))


def no_protobuf(stream: int) -> Iterator[bytes]:
    return _for_ever(DataFrame(stream, b"\0\0\0\0\4\xff\xff\xff\xff").serialize(), _begun(stream))


def compressed(stream: int) -> Iterator[bytes]:
    return _for_ever(DataFrame(stream, b"\1\0\0\0\4abcd").serialize(), _begun(stream))


def cut_off(stream: int) -> Iterator[bytes]:
    """A message that ends before its end, and a stream without its last headers."""
    return _for_ever(b"", _begun(stream) + DataFrame(stream, b"\0\0\0\0\4a", flags=["END_STREAM"]).serialize())


def bad_details(stream: int) -> Iterator[bytes]:
    """An answer of headers alone: a deep JSON for a fault's parts, and metadata that is no base64."""
    deep = "W1tb" * 12_000
    headers = (*ANSWER, ("grpc-status", "13"), ("grpc-status-details-bin", deep), ("x-bin", "\xff!"))
    block = Encoder().encode(list(headers), huffman=False)
    frames = HeadersFrame(stream, block[:SHORT], flags=["END_STREAM"]).serialize()
    for at in range(SHORT, len(block), SHORT):
        flags = ["END_HEADERS"] if at + SHORT >= len(block) else []
        frames += ContinuationFrame(stream, block[at : at + SHORT], flags=flags).serialize()
    return _for_ever(b"", frames)


def continuations(stream: int) -> Iterator[bytes]:
    return _for_ever(ContinuationFrame(stream, b"").serialize() * 1000, HeadersFrame(stream, b"").serialize())


def header_bomb(stream: int) -> Iterator[bytes]:
    """Headers of a stream that is over, each of them by a byte."""
    encoder = Encoder()
    yield _begun(stream) + RstStreamFrame(stream, error_code=8).serialize()
    block = encoder.encode([*ANSWER, ("x", "y" * 30)]) + b"\xbe" * 800
    while True:
        yield HeadersFrame(stream, block, flags=["END_HEADERS"]).serialize() * 10


def promises(stream: int) -> Iterator[bytes]:
    block = Encoder().encode([(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "x")])
    numbers = iter(range(2, 1 << 30, 2))
    while True:
        frames = [PushPromiseFrame(stream, next(numbers), data=block, flags=["END_HEADERS"]) for _ in range(500)]
        yield b"".join(frame.serialize() for frame in frames)


FLOODS: tuple[Flood, ...] = (
    pings,
    settings,
    windows,
    priorities,
    resets,
    unknown_frames,
    empty_data,
    a_byte_a_frame,
    messages_of_nothing,
    no_protobuf,
    compressed,
    cut_off,
    bad_details,
    continuations,
    header_bomb,
    promises,
)


class RawCell:
    """Dials in place of the cell's agent, and floods the controller as soon as that asks for its report."""

    def __init__(self, identity: CellIdentity, home: Home) -> None:
        self._identity = identity
        self._home = home
        self.connections = 0
        self.sent = 0

    async def flood(self, what: Flood, seconds: float, *, reads: bool = True) -> None:
        """For so long, dialling again at once each time it is cut off. Without `reads` it never reads anything but what
        the controller first asks.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    with contextlib.suppress(OSError, EOFError):
                        await self._once(what, reads=reads)
                    await asyncio.sleep(0)

    async def _once(self, what: Flood, *, reads: bool) -> None:
        host, port = endpoint(self._home.controllers[0])
        context = client_context(self._identity, TURNED)
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=SERVER_NAME)
        self.connections += 1
        try:
            writer.write(SettingsFrame(0).serialize())
            stream = await _asked(reader)
            reading = asyncio.get_running_loop().create_task(_to_end(reader)) if reads else None
            try:
                for block in what(stream):
                    writer.write(block)
                    await writer.drain()
                    self.sent += len(block)
                    if (reading is not None and reading.done()) or writer.transport.is_closing():
                        break
                    # Who waits for something that never comes has sent all that it wants to send.
                    await asyncio.sleep(0 if block else 0.01)
            finally:
                if reading is not None:
                    reading.cancel()
        finally:
            writer.transport.abort()


async def _asked(reader: asyncio.StreamReader) -> int:
    """The number of the first stream that the controller opens."""
    await reader.readexactly(PREFACE_BYTES)
    while True:
        head = await reader.readexactly(HEAD)
        await reader.readexactly(int.from_bytes(head[:3]))
        if head[3] == HEADERS:
            return int.from_bytes(head[5:9]) & 0x7FFFFFFF


async def _to_end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass
