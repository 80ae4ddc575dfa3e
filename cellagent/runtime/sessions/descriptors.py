"""Descriptors without a stream around them: waiting for one, and a pseudo terminal's end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from contextlib import suppress

from cellwire.rpc.carried import Piece

PIPE = 512 * 1024
_ROOM = bytearray(PIPE)
"""Of whoever reads: with room for each read of its own, cut to what came, malloc's heap grew by 40 MiB in a GiB."""


def read(fd: int) -> bytes:
    """What there is, up to 512 KiB; nothing at the end of file. Raises OSError, BlockingIOError where nothing waits.

    For the thread of the event loop alone: two threads would read into each other's bytes.
    """
    return bytes(memoryview(_ROOM)[: os.readv(fd, (_ROOM,))])


async def readable(fd: int) -> None:
    """Return once `fd` can be read, or is at its end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Return once `fd` takes bytes again, or is broken."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)


def widen(pipe: int) -> None:
    """Let more bytes wait in a pipe of a session than the kernel's 64 KiB, where it allows that: each time that one end
    has to wait for the other costs more than the bytes.
    """
    with suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)


class Terminal:
    """The end of a pseudo terminal that a session reads and writes; -1 is a terminal that never came to be."""

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

    async def write(self, data: Piece) -> None:
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
