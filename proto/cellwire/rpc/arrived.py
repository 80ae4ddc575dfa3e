"""The bytes of one stream that have arrived and were not read yet, in place of grpclib's buffer. No I/O.

grpclib keeps an object for each frame, three hundred times what a frame of one byte brings, and takes an empty frame
for the end of the stream. Here small frames lie together. What was taken is acknowledged as there: when a message is
wanted. So no window bounds what is kept of a message that is not whole: it is told to `partial`, as a difference.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

TOGETHER = 16 << 10


class Arrived:
    """See `grpclib.protocol.Buffer`."""

    def __init__(self, acknowledge: Callable[[int], None], partial: Callable[[int], None]) -> None:
        self._acknowledge = acknowledge
        self._partial = partial
        # Nobody has asked for these yet; with each what is to be acknowledged for it.
        self._unread: deque[tuple[bytearray | bytes, int]] = deque()
        # These were acknowledged; of the first one so many bytes are read.
        self._wanted: deque[bytearray | bytes] = deque()
        self._offset = 0
        self._held = 0
        self._ended = False
        self._more = asyncio.Event()

    def add(self, data: bytes, ack_size: int) -> None:
        """A frame has come, which takes `ack_size` of the window."""
        last, window = self._unread[-1] if self._unread else (b"", 0)
        if isinstance(last, bytearray) and len(last) + len(data) < 2 * TOGETHER:
            last += data
            self._unread[-1] = (last, window + ack_size)
        else:
            self._unread.append((data if len(data) >= TOGETHER else bytearray(data), ack_size))
        self._more.set()

    def eof(self) -> None:
        """Nothing else will come."""
        self._ended = True
        self._more.set()

    async def read(self, size: int) -> bytes:
        """So many bytes; none where the stream has ended before them. Raises EOFError where it ends within them."""
        return self._taken(size) if await self._hold(size) else b""

    async def _hold(self, size: int) -> bool:
        """Wait until so many bytes are here; False where the stream has ended before them."""
        while self._held < size:
            if self._unread:
                data, window = self._unread.popleft()
                self._keep(data)
                self._acknowledge(window)
            elif self._ended:
                if self._held:
                    raise EOFError(f"{self._held} bytes came of {size}")
                return False
            else:
                self._more.clear()
                await self._more.wait()
        return True

    async def pieces(self, size: int) -> list[bytes | memoryview]:
        """So many bytes, as they lie here. Raises EOFError where the stream ends before them."""
        if not await self._hold(size):
            raise EOFError(f"no byte came of {size}")
        # Small frames that lie together are still added to.
        return [bytes(piece) if isinstance(piece.obj, bytearray) else piece for piece in self._out(size)]

    async def front(self, size: int, whole: int) -> bytes:
        """The first `size` bytes of `whole`, once all of these are here; they stay. Raises EOFError as `read`."""
        await self._hold(whole)
        return b"".join(self._first(size))

    def unacked_size(self) -> int:
        """What of the window is to be given back for what nobody will read; forgets it and all that was kept."""
        left = sum(window for _, window in self._unread)
        self._unread.clear()
        self._wanted.clear()
        self._partial(-self._held)
        self._held = self._offset = 0
        return left

    def _keep(self, data: bytearray | bytes) -> None:
        self._held += len(data)
        self._partial(len(data))
        last = self._wanted[-1] if self._wanted else b""
        if isinstance(last, bytearray) and len(last) + len(data) < 2 * TOGETHER:
            last += data
        else:
            self._wanted.append(data)

    def _first(self, size: int) -> Iterator[memoryview]:
        at = self._offset
        for kept in self._wanted:
            piece = memoryview(kept)[at : at + size]
            yield piece
            size -= len(piece)
            at = 0
            if not size:
                return

    def _taken(self, size: int) -> bytes:
        return b"".join(self._out(size))

    def _out(self, size: int) -> list[memoryview]:
        self._held -= size
        self._partial(-size)
        pieces: list[memoryview] = []
        while size:
            first = self._wanted[0]
            piece = memoryview(first)[self._offset : self._offset + size]
            pieces.append(piece)
            size -= len(piece)
            self._offset += len(piece)
            if self._offset == len(first):
                self._wanted.popleft()
                self._offset = 0
        return pieces
