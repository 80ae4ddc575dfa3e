"""The bytes of a container's log file, from an offset that counts over rotation, to an end that is said.

conmon writes the file; a kubelet may have renamed it and asked for a new one. Offsets count from the first byte ever
written: `log_base` of the record is where the present file begins. A follower keeps the file that it reads open, so a
renamed one is read to its end first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cellagent.runtime.inotify import CHANGES, Inotify
from cellagent.runtime.records import ContainerRecord, Phase

CHUNK = 1 << 20
# conmon may flush its last bytes just after the exit file; and a missed wake-up must not be for ever.
LOOK_AGAIN = 2.0


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes at a position. `end`: nothing will ever follow."""

    offset: int
    data: bytes
    end: bool = False


async def read(
    find: Callable[[], ContainerRecord | None], inotify: Inotify, offset: int, *, follow: bool
) -> AsyncGenerator[LogChunk]:
    """Chunks from `offset`. Without `follow` up to what is there now; with it until the container is over.

    `find` gives the record as it now is, None once it is removed.
    """
    record = find()
    if record is None or not record.log_path:
        yield LogChunk(offset, b"", end=True)
        return
    path, position = Path(record.log_path), offset
    async with _awakened(inotify, path) as changed:
        while True:
            changed.clear()
            # Order matters: a container that was over before the file was read to its end has no more to say.
            record = find()
            over = record is None or record.phase in {Phase.EXITED, Phase.STOPPED}
            base = record.log_base if record else 0
            descriptor = _open(path)
            if descriptor is not None:
                try:
                    position = max(position, base)
                    while data := os.pread(descriptor, CHUNK, position - base):
                        yield LogChunk(position, data)
                        position += len(data)
                finally:
                    os.close(descriptor)
            if over or not follow:
                yield LogChunk(position, b"", end=over)
                return
            await _next(changed)


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


async def _next(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_AGAIN):
            await changed.wait()
    except TimeoutError:
        return


@asynccontextmanager
async def _awakened(inotify: Inotify, path: Path) -> AsyncGenerator[asyncio.Event]:
    changed = asyncio.Event()

    def woken(name: str) -> None:
        if name == path.name:
            changed.set()

    path.parent.mkdir(parents=True, exist_ok=True)
    end = inotify.watch(path.parent, CHANGES, woken)
    try:
        yield changed
    finally:
        end()
