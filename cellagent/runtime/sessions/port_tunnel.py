"""Port-forward: TCP connections to the loopback of a sandbox's network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cellagent.kernel import namespaces
from cellwire.faults import Fault, Kind
from cellwire.rpc.carried import Piece

# Bytes of one read, and of the first after a short one: room for many costs ten times what reading a few does.
CHUNK, FIRST = 512 * 1024, 64 * 1024
# The kernel's UIO_MAXIOV.
MOST_PARTS = 1024
# A loopback answers at once or not at all; a full backlog may take a moment.
DIAL_SECONDS = 10.0


class PortTunnel:
    """A TCP connection to a port on the loopback of a sandbox's network.

    Nothing is read before it is asked for, so that the kernel holds the pod.
    """

    def __init__(self, link: socket.socket, name: str) -> None:
        self._link = link
        self._name = name

    async def write(self, *data: Piece) -> None:
        """Send bytes; waits while the pod does not read."""
        left = data
        try:
            while left:
                with suppress(BlockingIOError):
                    left = _after(left, self._link.sendmsg(left[:MOST_PARTS]))
                if left:
                    await asyncio.get_running_loop().sock_sendall(self._link, left[0])
                    left = left[1:]
        except OSError as error:
            raise Fault(Kind.UNAVAILABLE, self._name, str(error)) from error

    async def close_writing(self) -> None:
        """Half-close."""
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)

    async def received(self) -> AsyncIterator[bytes]:
        """Bytes from the pod until its end of file."""
        loop = asyncio.get_running_loop()
        most = FIRST
        try:
            while data := await loop.sock_recv(self._link, most):
                most = CHUNK if len(data) >= FIRST else FIRST
                yield data
        except OSError as error:
            raise Fault(Kind.UNAVAILABLE, self._name, str(error)) from error


def _after(data: Sequence[Piece], sent: int) -> Sequence[Piece]:
    """What is left once so many bytes are sent."""
    for at, piece in enumerate(data):
        if sent < len(piece):
            return (memoryview(piece)[sent:], *data[at + 1 :])
        sent -= len(piece)
    return ()


@asynccontextmanager
async def dialled(netns: Path | None, port: int, sandbox: str) -> AsyncGenerator[PortTunnel]:
    """Dial 127.0.0.1, then ::1, in the namespace, or on this machine where there is none."""
    name = f"port {port} of sandbox {sandbox[:13]}"
    if not 0 < port < 65536:
        raise Fault(Kind.INVALID, name, "ports are numbers from 1 to 65535")
    with await _dial(netns, port, name) as link:
        yield PortTunnel(link, name)


async def _dial(netns: Path | None, port: int, name: str) -> socket.socket:
    refused: OSError | TimeoutError | None = None
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        link: socket.socket | None = None
        try:
            link = await _socket(netns, family)
            async with asyncio.timeout(DIAL_SECONDS):
                await asyncio.get_running_loop().sock_connect(link, (host, port))
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return link
        except (OSError, TimeoutError) as error:
            refused = refused or error
            if link is not None:
                link.close()
    cause = getattr(refused, "strerror", "") or "nothing answered"
    raise Fault(Kind.UNAVAILABLE, name, cause, "is something in the pod listening there?")


async def _socket(netns: Path | None, family: socket.AddressFamily) -> socket.socket:
    def make() -> socket.socket:
        # A socket stays in the namespace in which it was made.
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    return make() if netns is None else await namespaces.inside(netns, make)
