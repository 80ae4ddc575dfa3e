"""Bytes between the task that reads a connection and the task that uses them: bounded, and joined as they leave.

A full inbox holds its writer, and so the connection and the peer. One writer, one reader.
"""

from __future__ import annotations

import asyncio
from collections import deque

LIMIT = 256 * 1024
"""Bytes kept before the writer is held."""
_SMALL = 16 * 1024
"""Bytes below which pieces are joined at once: each by itself would cost more than it holds, and a record of TLS."""
_WASTE = 4
"""How many times its limit an inbox may keep alive of the buffers in which its pieces were received."""


class Aborted(Exception):
    """The peer gave this direction up without ending it."""


class Inbox:
    """A bounded queue of bytes with an end."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._pieces: deque[memoryview | bytes | bytearray] = deque()
        self._size = 0
        self._buffer: object = None  # in which the last piece was received
        self._alive = 0  # bytes of such buffers
        self.ended = False  # the writer has said so; bytes may still be here
        self._aborted = False
        self._discarding = False
        self._changed = asyncio.Event()  # for the reader
        self._room = asyncio.Event()  # for the writer
        self._room.set()

    async def put(self, piece: memoryview | bytes) -> None:
        """Add bytes; returns once there is room again. Bytes after the end are dropped."""
        if not self.add(piece):
            await self.room()

    def add(self, piece: memoryview | bytes) -> bool:
        """Add bytes; whether there is room for more. Bytes after the end are dropped."""
        if self.ended or self._discarding or not piece:
            return True
        self._keep(piece)
        self._size += len(piece)
        self._changed.set()
        if self._size < self._limit:
            return True
        self._room.clear()
        return False

    async def room(self) -> None:
        """Wait until there is room."""
        await self._room.wait()

    def _keep(self, piece: memoryview | bytes) -> None:
        """Keep a piece so that memory is in proportion to its size, however the peer has cut what it sent."""
        if len(piece) < _SMALL:
            last = self._pieces[-1] if self._pieces else None
            if isinstance(last, bytearray):
                last += piece
            else:
                self._pieces.append(bytearray(piece))
            return
        self._pieces.append(piece)
        if isinstance(piece, memoryview) and piece.obj is not self._buffer:
            self._buffer = piece.obj
            self._alive += memoryview(piece.obj).nbytes
            if self._alive > _WASTE * self._limit:
                joined = b"".join(self._pieces)
                self._clear()
                self._pieces.append(joined)

    def _clear(self) -> None:
        self._pieces.clear()
        self._buffer, self._alive = None, 0

    def end(self) -> None:
        """No more will come. Idempotent."""
        self.ended = True
        self._changed.set()

    def abort(self) -> None:
        """No more will come, and what is here is not wanted: the reader gets Aborted."""
        self._aborted = True
        self.discard()
        self.end()

    def discard(self) -> None:
        """Nobody reads any more: drop what is here and what will come, and let the writer go on."""
        self._discarding = True
        self._clear()
        self._size = 0
        self._room.set()

    async def take(self) -> bytes:
        """All bytes that are here, at least one; b"" at the end. Raises Aborted."""
        pieces = await self.pieces()
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    async def pieces(self) -> list[memoryview | bytes]:
        """All bytes that are here, as they came, at least one; none at the end. Raises Aborted."""
        while not self._pieces:
            if self._aborted:
                raise Aborted
            if self.ended:
                return []
            self._changed.clear()
            await self._changed.wait()
        taken = [bytes(piece) if isinstance(piece, bytearray) else piece for piece in self._pieces]
        self._clear()
        self._size = 0
        self._room.set()
        return taken
