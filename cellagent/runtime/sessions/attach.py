"""Attach: conmon's socket. Each packet begins with one byte that says which stream it is of; input goes in raw.

conmon closes the socket when the container has ended; the exit code is then the record's to tell. A container whose
input outlives its clients is parted from when a client's input ends, as containerd and CRI-O do: crictl leaves by that.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cellagent.runtime import conmon
from cellagent.runtime.sessions.descriptors import readable
from cellwire.faults import Fault, Kind
from cellwire.rpc.carried import Piece
from cellwire.stream.session import Exited, Output, SessionRequest, Stderr, Stdout

STDOUT, STDERR = 2, 3
# conmon reads and writes packets of at most this size.
PACKET = 32 * 1024
INPUT_PACKET = 8 * 1024


@dataclass(frozen=True, slots=True)
class AttachTarget:
    """A container to attach to: `keeps_input` where its own input goes on when that of a client has ended."""

    bundle: Path
    keeps_input: bool


class Attached:
    """A session on a container's own process."""

    def __init__(
        self, link: socket.socket, target: AttachTarget, request: SessionRequest, code: Callable[[], Awaitable[int]]
    ) -> None:
        self._link = link
        self._target = target
        self._request = request
        self._code = code
        self._ended = False

    async def write_stdin(self, data: Piece) -> None:
        """Hand bytes to the container; waits while it does not read."""
        if self._ended or not self._request.stdin:
            return
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            for start in range(0, len(data), INPUT_PACKET):
                await loop.sock_sendall(self._link, data[start : start + INPUT_PACKET])

    async def close_stdin(self) -> None:
        """Half-close, which conmon hands on; part from a container that keeps its input."""
        if not self._ended and self._request.stdin:
            self._ended = True
            with suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR if self._target.keeps_input else socket.SHUT_WR)

    async def resize(self, width: int, height: int) -> None:
        """Through conmon's control pipe."""
        conmon.resize(self._target.bundle, width, height)

    async def output(self) -> AsyncIterator[Output]:
        """What the container says from now on, then its exit code; 0 where the session has parted from it."""
        while packet := await self._packet():
            stream, data = packet[0], packet[1:]
            if stream == STDERR and self._request.stderr:
                yield Stderr(data)
            elif stream == STDOUT and self._request.stdout:
                yield Stdout(data)
        yield Exited(0 if self._ended and self._target.keeps_input else await self._code())

    async def _packet(self) -> bytes:
        while True:
            await readable(self._link.fileno())
            try:
                return self._link.recv(PACKET + 1)
            except BlockingIOError:
                continue
            except OSError:
                return b""


@asynccontextmanager
async def attached(
    target: AttachTarget, request: SessionRequest, code: Callable[[], Awaitable[int]]
) -> AsyncGenerator[Attached]:
    """Connect to the container; `code` waits for its end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as link:
        # A socket's path may have 107 characters; a descriptor of its folder makes it short.
        folder = os.open(target.bundle, os.O_PATH | os.O_DIRECTORY)
        try:
            link.connect(f"/proc/self/fd/{folder}/attach")
        except OSError as error:
            raise Fault(Kind.PRECONDITION, f"container {request.container_id[:13]}", f"attach: {error}") from error
        finally:
            os.close(folder)
        yield Attached(link, target, request, code)
