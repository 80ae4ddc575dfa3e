"""The one place from which this room starts processes, and ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress

LINE_LIMIT = 64 << 20
"""A line of the protocol may hold a manifest and a configuration, base64-encoded, or a layer's folder names."""


async def start(argv: Sequence[str]) -> Process:
    """Start `python -m argv…` with pipes for its input and output; errors go where ours go."""
    # The child must find this package however this process found it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", *argv, stdin=PIPE, stdout=PIPE, env=environment, limit=LINE_LIMIT
    )


async def end(process: Process, *, grace: float) -> None:
    """See to it that `process` is gone: ask, and after `grace` seconds kill. Reaps it."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM if grace else signal.SIGKILL)
    try:
        async with asyncio.timeout(grace or None):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
