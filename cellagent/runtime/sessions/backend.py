"""Exec, attach and port-forward where they really happen. Implements cellwire.stream.session.Backend."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cellagent.kernel import namespaces
from cellagent.runtime.container import RuntimeContainers
from cellagent.runtime.ledger import Phase, RuntimeLedger
from cellagent.runtime.sessions import attach, exec_session
from cellwire.faults import Fault, Kind
from cellwire.stream.session import Session, SessionRequest, Tunnel

CHUNK = 256 * 1024
# A loopback answers at once or not at all; a full backlog may take a moment.
DIAL_SECONDS = 10.0


class LocalBackend:
    """Sessions in containers of this machine."""

    def __init__(self, ledger: RuntimeLedger, containers: RuntimeContainers) -> None:
        self._ledger = ledger
        self._containers = containers

    @asynccontextmanager
    async def exec(self, request: SessionRequest) -> AsyncGenerator[Session]:
        """Start a command in a running container."""
        if not request.command:
            raise Fault(Kind.INVALID, f"exec in container {request.container_id[:13]}", "no command was given")
        async with exec_session.running(self._containers.place(request.container_id), request) as session:
            yield session

    @asynccontextmanager
    async def attach(self, request: SessionRequest) -> AsyncGenerator[Session]:
        """Attach to the container's own process."""
        place = self._containers.place(request.container_id)

        async def code() -> int:
            return await self._containers.ended(place.container_id)

        config = self._ledger.container(place.container_id).parsed()
        ends_with_client = config.stdin_once and not config.tty
        target = attach.AttachTarget(place.bundle, keeps_input=config.stdin and not ends_with_client)
        async with attach.attached(target, request, code) as session:
            yield session

    @asynccontextmanager
    async def port_forward(self, sandbox_id: str, port: int) -> AsyncGenerator[Tunnel]:
        """Dial a TCP port on the loopback of a sandbox's network."""
        record = self._ledger.sandbox(sandbox_id)
        if record.phase is not Phase.READY:
            raise Fault(Kind.PRECONDITION, f"sandbox {record.id[:13]}", "it is not ready")
        netns = record.namespaces.get("net")
        async with dialled(Path(netns) if netns else None, port, record.id) as opened:
            yield opened


class PortTunnel:
    """A TCP connection to a port on the loopback of a sandbox's network.

    Nothing is read before it is asked for, so that the kernel holds the pod.
    """

    def __init__(self, link: socket.socket, name: str) -> None:
        self._link = link
        self._name = name

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the pod does not read."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._link, data)
        except OSError as error:
            raise Fault(Kind.UNAVAILABLE, self._name, str(error)) from error

    async def close_writing(self) -> None:
        """Half-close."""
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)

    async def received(self) -> AsyncIterator[bytes]:
        """Bytes from the pod until its end of file."""
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._link, CHUNK):
                yield data
        except OSError as error:
            raise Fault(Kind.UNAVAILABLE, self._name, str(error)) from error


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
