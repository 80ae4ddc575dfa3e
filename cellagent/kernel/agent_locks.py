"""Two locks. The first is the agent's alone, so that no second one works in one of its folders (`sole`). The second is
held by an agent and every program it runs to the end for as long as they live (`held`).

Programs outlive an agent that is killed. Its next life takes nothing away before they have ended, or they would go on
making what it believes to be gone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from cellwire.faults import Fault, Kind
from hostkit import locks, programs

log = logging.getLogger(__name__)
# The longest that a program may run to its end (a CNI plugin); one that hangs beyond must not keep the agent away.
PATIENCE = 65.0
# A former life that was told to end lets go within seconds; longer than that is an agent that means to stay.
SUCCESSION = 15.0


@asynccontextmanager
async def sole(*folders: Path) -> AsyncGenerator[None]:
    """Be the only agent of these folders, which are made. Raises Fault EXISTS where another one still is after a while,
    BROKEN for a folder that cannot be had.
    """
    with ExitStack() as taken:
        for folder in dict.fromkeys(one.resolve() for one in folders):
            descriptor = _opened(folder)
            taken.callback(os.close, descriptor)
            if not await locks.wait(descriptor, SUCCESSION):
                mend = "end that one first, or give this one folders of its own"
                raise Fault(Kind.EXISTS, f"folder {folder}", "another agent is at work in it", mend)
        yield


@asynccontextmanager
async def held(file: Path, patience: float = PATIENCE) -> AsyncGenerator[None]:
    """Wait until nobody of an earlier life holds the lock, and hold it."""
    with locks.file(file) as descriptor:
        if not await locks.wait(descriptor, patience):
            log.warning("%s is still held after %g s by a program of an earlier agent", file, patience)
        programs.inherited.append(descriptor)
        try:
            yield
        finally:
            programs.inherited.remove(descriptor)


def _opened(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The folder itself, since a file could not be made on a full disk.
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        mend = "choose a folder that root may write"
        raise Fault(Kind.BROKEN, f"folder {folder}", error.strerror or str(error), mend) from error
