"""An HTTP proxy that leads names to where a test has their servers: CONNECT for https, whole addresses for http."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class RecordingProxy:
    """`asked` are the first lines of requests, in order."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self.address = ""
        self._places = places
        self._open: set[asyncio.StreamWriter] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        method, target, _ = line.decode().split(" ")
        self.asked.append(f"{method} {target}")
        tunnel = method == "CONNECT"
        place = target if tunnel else urlsplit(target).netloc
        if place not in self._places:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        host, _, port = self._places[place].rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        self._open.add(back)
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(target)
                path = f"{parts.path}?{parts.query}" if parts.query else parts.path
                back.write(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode() + rest)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pour(reader, back))
                group.create_task(_pour(there, writer))
        finally:
            self._open.discard(back)
            back.close()

    async def close(self) -> None:
        """Hang up on all, and wait until that is done."""
        while self._open:
            for writer in self._open:
                writer.transport.abort()
            await asyncio.sleep(0.01)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def running_proxy(places: Mapping[str, str]) -> AsyncGenerator[RecordingProxy]:
    """A proxy on loopback. `places` gives "host:port" for each name or "name:port" that it serves."""
    proxy = RecordingProxy(places)
    server = await asyncio.start_server(proxy.answer, "127.0.0.1", 0)
    proxy.address = "http://127.0.0.1:" + str(server.sockets[0].getsockname()[1])
    async with server:
        try:
            yield proxy
        finally:
            server.close()
            await proxy.close()
