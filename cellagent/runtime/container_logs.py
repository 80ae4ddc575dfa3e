"""The bytes of a container's log file, from an offset that counts over rotation, to an end that is said.

conmon writes the file; a kubelet may have renamed it and asked for a new one. Offsets count from the first byte ever
written: `log_base` of the record is where the present file begins. A follower keeps the file that it reads open, so a
renamed one is read to its end first.

What a controller holds durably is given back to the disk on its word, never otherwise: the file has a hole then, up to
`log_given` of the record. A reader that asks for what was there is told how many bytes are gone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cellagent.runtime import conmon
from cellagent.runtime.ledger import ContainerEntry, Phase, RuntimeLedger
from cellwire.faults import Fault, Kind
from hostkit import files
from hostkit.inotify import WRITES, Inotify

CHUNK = 1 << 20
# conmon may flush its last bytes just after the exit file; and a missed wake-up must not be for ever.
LOOK_AGAIN = 2.0
REOPEN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes at a position. `end`: nothing will ever follow. `gone`: so many bytes before them will never come."""

    offset: int
    data: bytes
    end: bool = False
    gone: int = 0


async def read(
    ledger: RuntimeLedger, inotify: Inotify, container_id: str, offset: int, *, follow: bool
) -> AsyncGenerator[LogChunk]:
    """Chunks from `offset`. Without `follow` up to what is there now; with it until the container is over."""
    record = ledger.container(container_id)
    if not record.log_path:
        yield LogChunk(offset, b"", end=True)
        return
    file = _File(Path(record.log_path))
    position = offset

    def given() -> int:
        nonlocal record
        record = ledger.find_container(record.id) or record
        return record.log_given

    async with _awakened(ledger, inotify, record) as changed:
        try:
            while True:
                changed.clear()
                # Order matters: a container that was over before the file was read to its end has no more to say.
                found = ledger.find_container(record.id)
                over = found is None or found.phase in {Phase.EXITED, Phase.STOPPED}
                base = found.log_base if found else file.base
                # Twice where the file was renamed: what the old one still holds, then the new one.
                for turn in (False, True) if base != file.base else (False,):
                    file.open(base, anew=turn)
                    # Asked each time: what is given back is written down before it is done.
                    while chunk := file.read(position, given()):
                        yield chunk
                        position = chunk.offset + len(chunk.data)
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
        self._first = 0
        self._path = path
        self._descriptor = -1

    def open(self, base: int, *, anew: bool) -> None:
        if anew:
            self.close()
        if self._descriptor < 0:
            with suppress(OSError):
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                self.base = base
                # No line begins so: an earlier container has written to this path, and its record may be gone.
                hole = os.pread(self._descriptor, 1, 0) == b"\0"
                self._first = base + (files.first_data(self._descriptor) if hole else 0)

    def read(self, position: int, given: int) -> LogChunk | None:
        """What there is from `position`, or else from the first whole line after what is given back or renamed away."""
        if self._descriptor < 0:
            return None
        start = max(position, self._first, given)
        data = os.pread(self._descriptor, CHUNK, start - self.base)
        if position < start and start > self.base:
            line = data.find(b"\n") + 1  # a block ends anywhere in a line
            if not line:
                return None
            start, data = start + line, data[line:]
        gone = start - position
        return LogChunk(start, data, gone=gone) if data or gone else None

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


async def _next(changed: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN):
            await changed.wait()


@asynccontextmanager
async def _awakened(ledger: RuntimeLedger, inotify: Inotify, record: ContainerEntry) -> AsyncGenerator[asyncio.Event]:
    path, changed = Path(record.log_path), asyncio.Event()

    def woken(name: str) -> None:
        if name in {path.name, ""}:
            changed.set()

    path.parent.mkdir(parents=True, exist_ok=True)
    end = inotify.watch(path.parent, WRITES, woken)
    try:
        with ledger.listening(record.id, changed.set):
            yield changed
    finally:
        end()


async def reopen(ledger: RuntimeLedger, bundle: Path, container_id: str) -> None:
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


async def trim(ledger: RuntimeLedger, container_id: str, offset: int) -> None:
    """Give back the space of the bytes before `offset`, in whole blocks; whoever asks for this has them durably.

    conmon appends and all count as before. Raises Fault UNSUPPORTED where the file system cannot.
    """
    record = ledger.container(container_id)
    # One that is being started has a record in hands that would undo what is written to it here.
    if not record.log_path or record.phase not in {Phase.RUNNING, Phase.EXITED}:
        return
    name = f"log of container {record.id[:13]}"
    try:
        length = files.whole_blocks(Path(record.log_path), offset - record.log_base)
        if record.log_base + length <= record.log_given:
            return
        inode = os.stat(record.log_path).st_ino
        ledger.put_container(msgspec.structs.replace(record, log_given=record.log_base + length))
        await asyncio.to_thread(files.give_back, Path(record.log_path), inode, length)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise Fault(Kind.BROKEN, name, f"no space could be given back: {error.strerror}") from error
        if (now := ledger.find_container(record.id)) is not None:
            ledger.put_container(msgspec.structs.replace(now, log_given=record.log_given))
        raise Fault(Kind.UNSUPPORTED, name, "the file system of the cell gives nothing back") from error


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
