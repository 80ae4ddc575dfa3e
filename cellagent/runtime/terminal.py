"""A pseudo terminal of ours: the end that a session reads and writes, and the end that a program gets."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from contextlib import suppress

from cellagent.runtime.descriptors import readable, writable

CHUNK = 64 * 1024


class Terminal:
    """Owns both ends until `hand_over`, then the master alone."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)
        self._writing = asyncio.Lock()

    def hand_over(self) -> None:
        """The program has its end: ours closes, so that its exit is our end of file."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        """Close what is still ours."""
        self.hand_over()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    async def read(self) -> bytes:
        """What the program says next; empty at its end."""
        while True:
            await readable(self.master)
            try:
                return os.read(self.master, CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                # EIO: the last holder of the other end is gone.
                return b""

    async def write(self, data: bytes) -> None:
        """Type bytes; waits while the program does not read. What nobody can read any more is dropped."""
        async with self._writing:
            left = memoryview(data)
            with suppress(OSError):
                while left and self.master >= 0:
                    try:
                        left = left[os.write(self.master, left) :]
                    except BlockingIOError:
                        await writable(self.master)

    def resize(self, width: int, height: int) -> None:
        """Set columns and rows."""
        if self.master >= 0:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
