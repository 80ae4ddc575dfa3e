"""The cloud's metadata service, version 2, by plain sockets: a booting cell must not load an HTTP library."""

from __future__ import annotations

import asyncio

from cellwire.faults import Fault, Kind

HOST = "169.254.169.254"
PORT = 80
TOKEN_SECONDS = 300
DEADLINE = 5.0
EXPIRED = "ExpiredToken"
# User-data has at most 16 KiB, an identity document less.
LARGEST = 1 << 20


class Metadata:
    """One session with the service: its token is asked for once, and again when the service says that it is over."""

    def __init__(self, host: str = HOST, port: int = PORT) -> None:
        self._address = (host, port)
        self._token = ""

    async def get(self, path: str) -> bytes:
        """Metadata at "/latest/" + path. Raises Fault NOT_FOUND or UNAVAILABLE."""
        used = self._token
        try:
            return await self._get(path)
        except Fault as fault:
            # A cell that waits for its controller for long outlives its token.
            if fault.reason != EXPIRED or not used:
                raise
        return await self._get(path)

    async def _get(self, path: str) -> bytes:
        if not self._token:
            header = f"X-aws-ec2-metadata-token-ttl-seconds: {TOKEN_SECONDS}"
            self._token = (await self._ask("PUT", "/latest/api/token", header)).decode()
        return await self._ask("GET", f"/latest/{path}", f"X-aws-ec2-metadata-token: {self._token}")

    async def _ask(self, verb: str, path: str, header: str) -> bytes:
        thing = f"metadata service: {verb} {path}"
        try:
            async with asyncio.timeout(DEADLINE):
                status, body = await self._exchange(
                    f"{verb} {path} HTTP/1.0\r\nHost: {self._address[0]}\r\n{header}\r\n"
                )
        except (OSError, TimeoutError, ValueError, EOFError) as error:
            raise Fault(Kind.UNAVAILABLE, thing, str(error) or "it did not answer in time") from error
        if status == 404:
            raise Fault(Kind.NOT_FOUND, thing, "there is no such thing")
        if status == 401:
            self._token = ""
            raise Fault(Kind.UNAVAILABLE, thing, "it does not accept our token", reason=EXPIRED)
        if status != 200:
            raise Fault(Kind.UNAVAILABLE, thing, f"it answered {status}")
        return body

    async def _exchange(self, head: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
            status = _status(await reader.readline())
            length = -1
            while (line := await reader.readline()).strip():
                name, _, text = line.decode("latin-1").partition(":")
                if name.lower() == "content-length":
                    length = int(text)
            if length > LARGEST:
                raise ValueError(f"it sends {length} bytes, {LARGEST} are allowed")
            body = await (reader.readexactly(length) if length >= 0 else reader.read(LARGEST))
            return status, body
        finally:
            writer.close()


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/"):
        raise ValueError("it does not speak HTTP")
    return int(rest.split(b" ")[0])
