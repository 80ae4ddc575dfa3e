"""Pipes handed to the event loop, closed once and by one.

uvloop 0.23 closes a pipe's descriptor itself and has the file object close it as well. Between the two the number may
belong to somebody else, whose file is then closed under him. So uvloop gets a file object that closes nothing.
"""

from __future__ import annotations

import asyncio
import os
from typing import IO

import uvloop


def handed_over(descriptor: int, mode: str) -> IO[bytes]:
    """A file object for connect_read_pipe ("rb") or connect_write_pipe ("wb"), which takes the descriptor over."""
    by_loop = isinstance(asyncio.get_running_loop(), uvloop.Loop)
    return os.fdopen(descriptor, mode, buffering=0, closefd=not by_loop)


def taken(pipe: IO[bytes], mode: str) -> IO[bytes]:
    """The same for an open file object, which is closed."""
    descriptor = os.dup(pipe.fileno())
    pipe.close()
    return handed_over(descriptor, mode)


async def reading(pipe: IO[bytes], limit: int = 64 * 1024) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """A stream around what `handed_over` or `taken` gave; closing the transport closes it."""
    reader = asyncio.StreamReader(limit)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader, transport
