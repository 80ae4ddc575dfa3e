"""A lock that an agent and every program it runs to the end hold for as long as they live.

Programs outlive an agent that is killed. Its next life takes nothing away before they have ended, or they would go on
making what it believes to be gone.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

log = logging.getLogger(__name__)
# The longest that a program may run to its end (a CNI plugin); one that hangs beyond must not keep the agent away.
PATIENCE = 65.0
_LOOK = 0.02
_held: list[int] = []


@asynccontextmanager
async def held(file: Path, patience: float = PATIENCE) -> AsyncGenerator[None]:
    """Wait until nobody of an earlier life holds the lock, and hold it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _alone(descriptor, file, patience)
        _held.append(descriptor)
        try:
            yield
        finally:
            _held.remove(descriptor)
    finally:
        os.close(descriptor)


def descriptors() -> tuple[int, ...]:
    """What a program must inherit to hold the lock too."""
    return tuple(_held)


async def _alone(descriptor: int, file: Path, patience: float) -> None:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                log.warning("%s is still held after %g s by a program of an earlier agent", file, patience)
                return
            await asyncio.sleep(_LOOK)
        else:
            return
