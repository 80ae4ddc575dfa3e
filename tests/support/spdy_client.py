"""A SPDY/3.1 client for exec, attach and port-forward, as small as can be: for tests and benchmarks.

It shares nothing with the server's parser but the compression dictionary, which the standard gives.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from cellwire.stream.spdy_dictionary import DICTIONARY

CHUNK = 32 * 1024


class UpgradeRefused(Exception):
    """The server answered the upgrade with something else than 101."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class ClientStream:
    """One stream: `read` until b"", `write`, `finish`."""

    def __init__(self, client: SpdyConnection, number: int) -> None:
        self.number = number
        self.replied = asyncio.Event()
        self.reset: int | None = None
        self.received = 0
        self._client = client
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=64)
        self._ended = False
        self._lost = False

    async def read(self) -> bytes:
        if self._ended or (self._lost and self._chunks.empty()):
            return b""
        chunk = await self._chunks.get()
        self._ended = not chunk
        return chunk

    async def read_all(self) -> bytes:
        pieces: list[bytes] = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def write(self, data: bytes, *, fin: bool = False) -> None:
        await self._client.send(struct.pack(">II", self.number, (int(fin) << 24) | len(data)), data)

    async def finish(self) -> None:
        await self.write(b"", fin=True)

    async def abort(self) -> None:
        await self._client.send(struct.pack(">IIII", 0x80030003, 8, self.number, 5))

    async def feed(self, chunk: bytes, *, fin: bool) -> None:
        self.received += len(chunk)
        if chunk:
            await self._chunks.put(chunk)
        if fin:
            await self._chunks.put(b"")

    def lose(self) -> None:
        """The connection has ended. What nobody has read stays to be read."""
        self._lost = True
        if not self._chunks.full():
            self._chunks.put_nowait(b"")


class SpdyConnection:
    """One connection. `listen` is run by `connected`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: str) -> None:
        self.version = version
        self.streams: dict[int, ClientStream] = {}
        self.pongs: asyncio.Queue[int] = asyncio.Queue()
        self.went_away: int | None = None
        self.closed = asyncio.Event()
        self.writer = writer
        self._reader = reader
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._next = 1

    async def send(self, *parts: bytes) -> None:
        # An empty part makes the selector loop of Python 3.12 and later spin.
        self.writer.writelines([part for part in parts if part])
        await self.writer.drain()

    def vanish(self) -> None:
        """Reset the TCP connection, as a machine that restarts does."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def ping(self, number: int = 1) -> None:
        await self.send(struct.pack(">III", 0x80030006, 4, number))

    async def open(self, headers: Mapping[str, str]) -> ClientStream:
        """Open a stream and wait for its reply, or its reset."""
        stream = ClientStream(self, self._next)
        self.streams[stream.number] = stream
        self._next += 2
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for field in (name.lower().encode(), value.encode()):
                plain += struct.pack(">I", len(field)) + field
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack(">IIH", stream.number, 0, 0) + block
        await self.send(struct.pack(">II", 0x80030001, len(body)) + body)
        await stream.replied.wait()
        return stream

    async def open_all(self, *names: str) -> dict[str, ClientStream]:
        return {name: await self.open({"streamType": name}) for name in names}

    async def listen(self) -> None:
        try:
            while True:
                first, second = struct.unpack(">II", await self._reader.readexactly(8))
                body = await self._reader.readexactly(second & 0xFFFFFF)
                if first & 0x80000000:
                    await self._control(first & 0xFFFF, body)
                elif first in self.streams:
                    await self.streams[first].feed(body, fin=bool(second >> 24 & 1))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            for stream in self.streams.values():
                stream.replied.set()
                stream.lose()

    async def _control(self, kind: int, body: bytes) -> None:
        number = struct.unpack_from(">I", body)[0]
        if kind == 2:
            self._inflate.decompress(body[4:])
            self.streams[number].replied.set()
        elif kind == 3 and number in self.streams:
            stream = self.streams[number]
            stream.reset = struct.unpack_from(">I", body, 4)[0]
            stream.replied.set()
            await stream.feed(b"", fin=True)
        elif kind == 6:
            await self.pongs.put(number)
        elif kind == 7:
            self.went_away = struct.unpack_from(">I", body, 4)[0]


@asynccontextmanager
async def connected(
    url: str, versions: Sequence[str] = ("v4.channel.k8s.io",), *, method: str = "POST", limit: int = 1 << 20
) -> AsyncGenerator[SpdyConnection]:
    """Upgrade `url` to SPDY/3.1. Raises Refused."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=limit)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    lines += [f"X-Stream-Protocol-Version: {version}" for version in versions]
    try:
        writer.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split()[1])
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head.splitlines()[1:]}
        if status != 101:
            raise UpgradeRefused(status, (await reader.read(int(headers.get("content-length", 0)))).decode())
        assert headers["upgrade"] == "SPDY/3.1"
        client = SpdyConnection(reader, writer, headers.get("x-stream-protocol-version", ""))
        listening = asyncio.create_task(client.listen())
        try:
            yield client
        finally:
            listening.cancel()
            await asyncio.wait([listening])
    finally:
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()  # nobody may be reading
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def exit_code(status: bytes) -> int:
    """The exit code in a version 4 status."""
    told: dict[str, Any] = json.loads(status)
    if told["status"] == "Success":
        return 0
    if told["reason"] != "NonZeroExitCode":
        raise AssertionError(told["message"])
    return int(next(cause["message"] for cause in told["details"]["causes"] if cause["reason"] == "ExitCode"))
