"""The one place from which this room starts processes, reads what they say, and ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from cellagent.images.pipe_frames import Message, MessageFrames
from hostkit import programs
from hostkit.children import Child

_STDERR = 2
_READ = 256 << 10


async def start(argv: Sequence[str], *, stdin: int = PIPE, stdout: int = PIPE) -> Child:
    """Start `python -m argv…`, with pipes unless descriptors are given; errors go where ours go."""
    # The child must find this package however this process found it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-m", *argv]
    return await programs.launch(command, stdin=stdin, stdout=stdout, stderr=_STDERR, env=environment)


async def messages(reader: asyncio.StreamReader, kind: type[Message]) -> AsyncGenerator[Message]:
    """The messages of a stream to its end; a last one that is cut short is dropped. Raises msgspec.DecodeError."""
    frames = MessageFrames(kind)
    while piece := await reader.read(_READ):
        for message in frames.feed(piece):
            yield message


async def end(process: Child, *, grace: float) -> None:
    """See to it that `process` is gone: ask, and after `grace` seconds, or when cancelled, kill. Reaps it."""
    try:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM if grace else signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace or None):
                    await process.wait()
    finally:
        try:
            if process.returncode is None:
                process.kill()
                await reap(process)
        finally:
            process.close()


async def reap(process: Child) -> None:
    """Wait for the end of what was killed. Who is cancelled meanwhile, once or more, waits on and raises it then."""
    cancelled: asyncio.CancelledError | None = None
    while process.returncode is None:
        try:
            await process.wait()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
