"""A two-way flow of bytes as SPDY needs it, over a transport taken from an HTTP server, or over anything else.

`TransportPipe` is an asyncio protocol: a reader that stops reading pauses the peer, a peer that stops reading holds
`write`.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
from collections import deque
from collections.abc import Sequence
from typing import Protocol, cast

READ_LIMIT = 512 * 1024
WRITE_LIMIT = 256 * 1024
"""Bytes kept in either direction before the one who sends is held."""
URGENT_LIMIT = 1 << 20
"""Bytes of answers at which a peer that asks for them and does not read is hung up on."""
GRACE = 2.0
"""Seconds for a peer that has fetched everything to hang up by itself; clients do so within milliseconds."""
_CLOSED = frozenset({7, 8, 9, 11})
"""TCP states CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING of linux/tcp.h."""


class Pipe(Protocol):
    """A pipe of frames, in both directions."""

    async def read(self) -> bytes:
        """Some bytes; b"" once the peer has gone."""
        ...

    async def write(self, *parts: bytes | memoryview, urgent: bool = False) -> None:
        """Send `parts` together, once there is room. Dropped once the peer is gone.

        `urgent` does not wait: for the few bytes of an answer, so that a peer that reads slowly is still heard.
        """
        ...

    async def close(self) -> None:
        """Let the peer fetch what is left and hang up, then hang up."""
        ...

    def abort(self) -> None:
        """Hang up at once."""
        ...

    def hung_up(self) -> bool:
        """Whether the peer has gone; known even while nobody reads."""
        ...


class TransportPipe(asyncio.Protocol):
    """A pipe over a transport. `attach` takes the transport over from whoever had it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received: deque[bytes] = deque()
        self._size = 0
        self._reading = True
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._turn = asyncio.Lock()  # of those who wait to write: each adds to what is unsent only when there is room
        self._urgent = 0  # bytes of answers since there was no more room
        self._lost = asyncio.Event()

    def attach(self, transport: asyncio.BaseTransport) -> None:
        """Take `transport` over, from its next byte on."""
        taken = cast("asyncio.Transport", transport)
        taken.set_write_buffer_limits(high=WRITE_LIMIT)
        taken.set_protocol(self)
        self._transport = taken

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        self._size += len(data)
        self._arrived.set()
        if self._size >= READ_LIMIT and self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set()
        self._arrived.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._urgent = 0
        self._writable.set()

    async def read(self) -> bytes:
        """Some bytes; b"" once the peer has gone."""
        while not self._received:
            if self._lost.is_set():
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = self._received.popleft()
        self._size -= len(data)
        if not self._reading and self._size < READ_LIMIT // 2 and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()
        return data

    async def write(self, *parts: bytes | memoryview, urgent: bool = False) -> None:
        """Send `parts` together, once there is room. Dropped once the peer is gone."""
        if urgent:
            self._send(parts)
            if not self._writable.is_set():
                self._urgent += sum(map(len, parts))
                if self._urgent > URGENT_LIMIT:
                    self.abort()
            return
        async with self._turn:
            await self._writable.wait()
            if not self._send(parts):
                await asyncio.sleep(0)  # so that a writer with much to say hears that nobody listens

    def _send(self, parts: Sequence[bytes | memoryview]) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        # The selector loop of Python 3.12 and later spins for ever on an empty part that the socket has no room for.
        transport.writelines([part for part in parts if part])
        return True

    async def close(self) -> None:
        """Let the peer fetch what is left and hang up, then hang up.

        Somebody must go on reading meanwhile: unread input would make the kernel reset the connection, and the peer
        would lose the end of our output.
        """
        while self._transport is not None:
            left = unsent(self._transport)
            try:
                async with asyncio.timeout(GRACE):
                    await self._lost.wait()
            except TimeoutError:
                if left == 0:
                    break
        self.abort()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    def hung_up(self) -> bool:
        """Whether the peer has gone, asked of the kernel, since a paused transport does not notice."""
        return self._transport is None or hung_up(self._transport)


def hung_up(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer of a TCP connection has closed its end."""
    state = _tcp_state(transport)
    return state is not None and state in _CLOSED


def unsent(transport: asyncio.WriteTransport) -> int:
    """Bytes that the peer's kernel has not yet acknowledged."""
    own = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    try:
        waiting = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, AttributeError, ValueError):
        return own
    return own + int.from_bytes(waiting, sys.byteorder)


def _tcp_state(transport: asyncio.BaseTransport) -> int | None:
    connection = transport.get_extra_info("socket")
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except (OSError, AttributeError, TypeError):
        return None
