"""A tunnel to a port: pieces arrive whole and in order, however slowly the pod reads them."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from cellagent.runtime.sessions.port_tunnel import MOST_PARTS, PortTunnel, dialled
from cellwire.faults import Fault

LARGE = secrets.token_bytes(3 << 20)
PIECES: dict[str, Sequence[bytes | memoryview]] = {
    "none": (),
    "empty ones": (b"", b""),
    "one": (b"word",),
    "more than the kernel takes at once": [b"%d " % number for number in range(3 * MOST_PARTS)],
    "more than fits into the socket": (b"head", memoryview(LARGE)[5:], b"", LARGE, LARGE[: 1 << 20], b"tail"),
}


@asynccontextmanager
async def a_port() -> AsyncGenerator[tuple[PortTunnel, socket.socket]]:
    """A tunnel to a port of this machine, and the other end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        async with dialled(None, listening.getsockname()[1], "sandbox") as tunnel:
            other, _ = await asyncio.get_running_loop().sock_accept(listening)
            with other:
                yield tunnel, other


async def _digest(other: socket.socket) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    while data := await asyncio.get_running_loop().sock_recv(other, 50_000):
        found.update(data)
        size += len(data)
    return found.hexdigest(), size


@pytest.mark.parametrize("what", PIECES)
async def test_pieces_arrive_in_order(what: str) -> None:
    pieces = PIECES[what]
    async with a_port() as (tunnel, other), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(_digest(other))
        await tunnel.write(*pieces)
        await tunnel.write(b"end")
        await tunnel.close_writing()
        whole = b"".join(pieces) + b"end"
        assert await reading == (hashlib.sha256(whole).hexdigest(), len(whole))


async def test_a_pod_that_does_not_read_holds_its_writer() -> None:
    much = [LARGE] * 16  # more than both sockets may keep
    async with a_port() as (tunnel, other), asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(tunnel.write(*much))
        first = await asyncio.get_running_loop().sock_recv(other, 1)
        assert not writing.done()
        reading = tasks.create_task(_digest(other))
        await writing
        await tunnel.close_writing()
        found = hashlib.sha256(b"".join(much)[len(first) :])
        assert await reading == (found.hexdigest(), 16 * len(LARGE) - 1)


async def test_a_pod_that_hangs_up_is_a_fault_to_its_writer() -> None:
    async def write(tunnel: PortTunnel) -> None:
        while True:
            await tunnel.write(b"word", LARGE)

    async with a_port() as (tunnel, other):
        other.close()
        with pytest.raises(Fault, match="port"):
            await write(tunnel)
