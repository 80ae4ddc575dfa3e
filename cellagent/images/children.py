"""The one place from which this room starts processes, reads what they say, and ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from cellagent.kernel import processes

_STDERR = 2
_READ = 256 << 10


async def start(argv: Sequence[str]) -> Process:
    """Start `python -m argv…` with pipes for its input and output; errors go where ours go."""
    # The child must find this package however this process found it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-m", *argv]
    return await processes.start(command, stdin=PIPE, stdout=PIPE, stderr=_STDERR, env=environment)


async def lines(process: Process) -> AsyncGenerator[bytes]:
    """The lines of a process's output, however long; a last one without its end is dropped."""
    rest = b""
    while process.stdout and (chunk := await process.stdout.read(_READ)):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


async def end(process: Process, *, grace: float) -> None:
    """See to it that `process` is gone: ask, and after `grace` seconds kill. Reaps it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM if grace else signal.SIGKILL)
        try:
            async with asyncio.timeout(grace or None):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.stdin:
        process.stdin.close()
