"""Two locks. The first is the agent's alone, so that no second one works in the same folders (`sole`). The second is
held by an agent and every program it runs to the end for as long as they live (`held`).

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

from cellwire.faults import Fault, Kind

log = logging.getLogger(__name__)
# The longest that a program may run to its end (a CNI plugin); one that hangs beyond must not keep the agent away.
PATIENCE = 65.0
# A former life that was told to end lets go within seconds; longer than that is an agent that means to stay.
SUCCESSION = 15.0
_LOOK = 0.02
_held: list[int] = []


@asynccontextmanager
async def sole(folder: Path) -> AsyncGenerator[None]:
    """Be the only agent of a folder. Raises Fault EXISTS where another one still is after a while."""
    folder.mkdir(parents=True, exist_ok=True)
    # The folder itself, since a file could not be made on a full disk.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not await _locked(descriptor, SUCCESSION):
            mend = "end that one first, or give this one folders of its own"
            raise Fault(Kind.EXISTS, f"folder {folder}", "another agent is at work in it", mend)
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def held(file: Path, patience: float = PATIENCE) -> AsyncGenerator[None]:
    """Wait until nobody of an earlier life holds the lock, and hold it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not await _locked(descriptor, patience):
            log.warning("%s is still held after %g s by a program of an earlier agent", file, patience)
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


async def _locked(descriptor: int, patience: float) -> bool:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_LOOK)
        else:
            return True
