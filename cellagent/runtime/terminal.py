"""A pseudo terminal's end that a session reads and writes; a program has the other one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from contextlib import suppress

from cellagent.runtime.descriptors import writable


class Terminal:
    """Owns the descriptor; -1 is a terminal that never came to be."""

    def __init__(self, master: int) -> None:
        self.master = master
        if master >= 0:
            os.set_blocking(master, False)
        self._writing = asyncio.Lock()

    def close(self) -> None:
        """Close it."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

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
        """Set columns and rows; the kernel tells the program."""
        if self.master >= 0:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
