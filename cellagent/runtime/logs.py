"""The bytes of a container's log file, from an offset that counts over rotation, to an end that is said.

conmon writes the file; a kubelet may have renamed it and asked for a new one. Offsets count from the first byte ever
written: `log_base` of the record is where the present file begins. A follower keeps the file that it reads open, so a
renamed one is read to its end first.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cellagent.runtime import conmon
from cellagent.runtime.inotify import CHANGES, Inotify
from cellagent.runtime.records import ContainerRecord, Ledger, Phase
from cellwire.faults import Fault, Kind

CHUNK = 1 << 20
# conmon may flush its last bytes just after the exit file; and a missed wake-up must not be for ever.
LOOK_AGAIN = 2.0
REOPEN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes at a position. `end`: nothing will ever follow."""

    offset: int
    data: bytes
    end: bool = False


async def read(
    ledger: Ledger, inotify: Inotify, container_id: str, offset: int, *, follow: bool
) -> AsyncGenerator[LogChunk]:
    """Chunks from `offset`. Without `follow` up to what is there now; with it until the container is over."""
    record = ledger.container(container_id)
    if not record.log_path:
        yield LogChunk(offset, b"", end=True)
        return
    file = _File(Path(record.log_path))
    position = offset
    async with _awakened(ledger, inotify, record) as changed:
        try:
            while True:
                changed.clear()
                # Order matters: a container that was over before the file was read to its end has no more to say.
                record = ledger.find_container(container_id)
                over = record is None or record.phase in {Phase.EXITED, Phase.STOPPED}
                base = record.log_base if record else file.base
                # Twice where the file was renamed: what the old one still holds, then the new one.
                for turn in (False, True) if base != file.base else (False,):
                    file.open(base, anew=turn)
                    while data := file.read(position):
                        position = max(position, file.base)
                        yield LogChunk(position, data)
                        position += len(data)
                if over or not follow:
                    yield LogChunk(position, b"", end=over)
                    return
                await _next(changed)
        finally:
            file.close()


class _File:
    """The log file that is being read, held open over a rename. `base` is the position of its first byte."""

    def __init__(self, path: Path) -> None:
        self.base = 0
        self._path = path
        self._descriptor = -1

    def open(self, base: int, *, anew: bool) -> None:
        if anew:
            self.close()
        if self._descriptor < 0:
            with suppress(OSError):
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                self.base = base

    def read(self, position: int) -> bytes:
        return os.pread(self._descriptor, CHUNK, max(position - self.base, 0)) if self._descriptor >= 0 else b""

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


async def _next(changed: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN):
            await changed.wait()


@asynccontextmanager
async def _awakened(ledger: Ledger, inotify: Inotify, record: ContainerRecord) -> AsyncGenerator[asyncio.Event]:
    path, changed = Path(record.log_path), asyncio.Event()

    def woken(name: str) -> None:
        if name == path.name:
            changed.set()

    path.parent.mkdir(parents=True, exist_ok=True)
    end = inotify.watch(path.parent, CHANGES, woken)
    try:
        with ledger.listening(record.id, changed.set):
            yield changed
    finally:
        end()


async def reopen(ledger: Ledger, bundle: Path, container_id: str) -> None:
    """Have conmon write to a new file at the log's path, and count on from where the old file ended."""
    record = ledger.container(container_id)
    name = f"log of container {record.id[:13]}"
    if record.phase is not Phase.RUNNING:
        raise Fault(Kind.PRECONDITION, name, "the container is not running")
    path = Path(record.log_path)
    old = _held_by(record.conmon_pid, path.parent)
    if old < 0:
        raise Fault(Kind.BROKEN, name, "conmon does not hold it open")
    try:
        conmon.reopen_log(bundle)
        async with asyncio.timeout(REOPEN_SECONDS):
            while _writes_to(record.conmon_pid, path.parent, os.fstat(old)):
                await asyncio.sleep(0.002)
        record = ledger.container(container_id)
        base = record.log_base + os.fstat(old).st_size
        ledger.put_container(msgspec.structs.replace(record, log_base=base))
    except TimeoutError as error:
        raise Fault(Kind.TIMEOUT, name, "conmon did not open it anew") from error
    finally:
        os.close(old)


def _held_by(pid: int, folder: Path) -> int:
    """A descriptor of ours for the file below `folder` that process `pid` writes to; -1 where there is none."""
    with suppress(OSError):
        folder = folder.resolve()  # as the kernel tells paths
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if Path(os.readlink(link)).parent == folder and stat.S_ISREG(link.stat().st_mode):
                    return os.open(link, os.O_RDONLY | os.O_CLOEXEC)
    return -1


def _writes_to(pid: int, folder: Path, old: os.stat_result) -> bool:
    """Whether the process still has the old file; it opens the new one before it lets go of that."""
    present = _held_by(pid, folder)
    if present < 0:
        return True
    try:
        return os.path.samestat(os.fstat(present), old)
    finally:
        os.close(present)
