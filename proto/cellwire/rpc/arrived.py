"""The bytes of one stream that have arrived and were not read yet, in place of grpclib's buffer. No I/O.

grpclib keeps an object for each frame, three hundred times what a frame of one byte brings, and takes an empty frame
for the end of the stream. Here small frames lie together. What was taken is acknowledged as there: when a message is
wanted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

TOGETHER = 16 << 10


class Arrived:
    """See `grpclib.protocol.Buffer`."""

    def __init__(self, acknowledge: Callable[[int], None]) -> None:
        self._acknowledge = acknowledge
        self._data = bytearray()
        # Of frames that lie together: their bytes, and what is to be acknowledged for them.
        self._unread: deque[list[int]] = deque()
        self._wanted = 0  # bytes of `_data` that were acknowledged
        self._ended = False
        self._more = asyncio.Event()

    def add(self, data: bytes, ack_size: int) -> None:
        """A frame has come, which takes `ack_size` of the window."""
        if self._unread and self._unread[-1][0] < TOGETHER:
            self._unread[-1][0] += len(data)
            self._unread[-1][1] += ack_size
        else:
            self._unread.append([len(data), ack_size])
        self._data += data
        self._more.set()

    def eof(self) -> None:
        """Nothing else will come."""
        self._ended = True
        self._more.set()

    async def read(self, size: int) -> bytes:
        """So many bytes; none where the stream has ended before them. Raises EOFError where it ends within them."""
        while self._wanted < size:
            if self._unread:
                length, window = self._unread.popleft()
                self._wanted += length
                self._acknowledge(window)
            elif self._ended:
                if self._wanted:
                    raise EOFError(f"{self._wanted} bytes came of {size}")
                return b""
            else:
                self._more.clear()
                await self._more.wait()
        taken = bytes(memoryview(self._data)[:size])
        del self._data[:size]
        self._wanted -= size
        return taken

    def unacked_size(self) -> int:
        """What of the window is to be given back for what nobody will read; forgets it."""
        left = sum(window for _, window in self._unread)
        self._unread.clear()
        return left
