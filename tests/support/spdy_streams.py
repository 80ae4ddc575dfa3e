"""Requests and streams of tests over SPDY/3.1."""

from __future__ import annotations

import asyncio
import struct

from cellwire.stream.session import SessionRequest
from tests.support.sessions import BLOCK
from tests.support.spdy_client import ClientStream, SpdyConnection

MIB = 1 << 20
OUTPUTS = ("error", "stdout", "stderr")
FORWARD = ("portforward.k8s.io",)
PING = struct.pack(">III", 0x80030006, 4, 1)


def command(*words: str, stdin: bool = False) -> SessionRequest:
    return SessionRequest("c", words, stdin=stdin)


async def fill(stdin: ClientStream) -> int:
    """Write until the server takes no more; how much it took."""
    sent = 0
    try:
        async with asyncio.timeout(0.5):
            while sent < 100 * MIB:
                await stdin.write(BLOCK)
                sent += len(BLOCK)
    except TimeoutError:
        pass
    return sent


async def ask(client: SpdyConnection, most: int) -> None:
    """Ask for answers until the server hangs up, in so many bytes at most. Raises ConnectionError once it does."""
    for _ in range(most // (10_000 * len(PING))):
        await client.send(PING * 10_000)


async def pair(client: SpdyConnection, port: int, request: int) -> tuple[ClientStream, ClientStream]:
    """Data and error stream of a forwarded connection."""
    headers = {"port": str(port), "requestID": str(request)}
    error = await client.open({"streamType": "error", **headers})
    return await client.open({"streamType": "data", **headers}), error
