"""A connection that is read into a buffer which all connections of a thread share: nothing is allocated for a read.

What is read is used at once: between the asking for the buffer and the word that it is filled, nothing else runs.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Protocol

SIZE = 256 << 10
"""Bytes of one read: as many as the event loop takes of a socket at once."""


class Taking(Protocol):
    """The protocol of a connection, which keeps nothing of what it is given."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has begun."""
        ...

    def taken_in(self, data: memoryview) -> None:
        """Bytes have come; they are overwritten by the next ones."""
        ...

    def eof_received(self) -> bool | None:
        """The peer says no more."""
        ...

    def pause_writing(self) -> None:
        """The peer does not keep up."""
        ...

    def resume_writing(self) -> None:
        """It has caught up."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        ...


class _Buffer(threading.local):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(SIZE))


_BUFFER = _Buffer()


class BufferedReading(asyncio.BufferedProtocol):
    """Stands between a transport and the protocol of a connection."""

    def __init__(self, inner: Taking) -> None:
        self._inner = inner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return _BUFFER.view

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.taken_in(_BUFFER.view[:nbytes])

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
