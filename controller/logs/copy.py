"""One container's log as a file here that grows: how far it is, and where the next bytes go.

The file itself says how far the copy is: its size, after the position of its first byte, which stands in a small note
beside it. So a restart of the controller, killed or not, goes on where the last write ended, also after a kubelet has
moved the file away. What is durable is known apart: the cell gives its own bytes away on the strength of that.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

# A copy that grew by so much is made durable, in some tenths of a second of a disk's time: what a cell must hold.
DUE_BYTES = 32 << 20
# No log grows to a pebibyte; a position beyond it, told by a cell or read from a note, is nobody's.
MOST_BYTES = 1 << 50


class Note(msgspec.Struct, frozen=True):
    """Where the file with this inode begins in the whole log of `container`; "" where an earlier version wrote it."""

    base: int
    inode: int
    container: str = ""


class Copy:
    """One container's log on its way here. Raises OSError; `offset` is always what the file holds, also after that.

    The bytes before `durable` outlive a loss of power; `due` is set when it is time to make more of them so, which one
    does at a time: who holds `syncs`.
    """

    def __init__(self, path: Path, container_id: str) -> None:
        self.path = path
        self._container = container_id
        self._note = path.with_name(f".{path.name}.begins")
        self._file = -1
        self._next = -1
        self._former: list[int] = []  # files moved away whose end is not durable yet
        self.offset = 0
        self.durable = 0
        self.due = asyncio.Event()
        self.syncs = asyncio.Lock()

    def open(self) -> None:
        """Find out how far the copy is, and open the file to go on; one that is open already stays so."""
        if self._file >= 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.offset = self._reached()
        self._begin(self._create())
        if self.offset > os.fstat(self._file).st_size:
            self._distrust_former()

    def reopen(self) -> None:
        """The file was moved away: there is a new one at once, and what follows the line that has begun goes to it."""
        if self._file < 0:
            return
        self._drop_next()
        following = self._create()
        if os.fstat(following).st_ino == os.fstat(self._file).st_ino:
            os.close(following)  # it was not moved
        elif self._in_line():
            self._next = following
        else:
            self._begin(following)

    def write(self, data: bytes) -> None:
        """Append bytes that begin at `offset`."""
        if self._next >= 0 and (cut := data.find(b"\n") + 1):
            self._append(data[:cut])
            data = data[cut:]
            self._use(self._next)
            self._next = -1
        self._append(data)

    def skip(self, to: int, line: bytes) -> None:
        """The bytes from `offset` to `to` will never come: `line` stands in their place, whole or not at all."""
        size = os.fstat(self._file).st_size
        line = b"\n" + line if self._in_line() else line
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._write_note(self._file, to)
        except OSError:
            os.ftruncate(self._file, size)
            raise
        self.offset = to

    @contextmanager
    def syncing(self) -> Generator[list[int]]:
        """Descriptors of its own on all that is to be synced, in a thread, for what is here now to be durable; the
        file may be rotated and closed meanwhile. After the block it counts as durable.
        """
        reached, former = self.offset, tuple(self._former)
        files: list[int] = []
        try:
            files += [os.dup(file) for file in (*former, self._file)]
            with suppress(FileNotFoundError):  # what somebody has removed is not wanted
                files += [os.open(way, os.O_RDONLY | os.O_CLOEXEC) for way in (self._note, self.path.parent)]
            yield files
            self.durable = max(self.durable, reached)
            for file in former:
                if file in self._former:  # not if it was closed meanwhile
                    self._former.remove(file)
                    os.close(file)
            if not self._former and self.offset - self.durable < DUE_BYTES:
                self.due.clear()
        finally:
            for file in files:
                os.close(file)

    def close(self) -> None:
        """Let go of the file."""
        self._drop_next()
        while self._former:
            os.close(self._former.pop())
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)  # a full disk may take a part
            self.offset += written
            view = view[written:]
        if self.offset - self.durable >= DUE_BYTES:
            self.due.set()

    def _distrust_former(self) -> None:
        """An earlier controller may have been killed before it had made durable what it saw moved away."""
        for entry in self._beside():
            with suppress(FileNotFoundError):  # a kubelet has just removed it
                self._former.append(os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC))
        self.due.set()

    def _in_line(self) -> bool:
        size = os.fstat(self._file).st_size
        return size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _create(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def _begin(self, file: int) -> None:
        try:
            self._use(file)
        except OSError:
            os.close(file)
            raise

    def _use(self, file: int) -> None:
        """From now on write to this file; the note is there before the first byte, or the former file stays in use."""
        self._write_note(file, self.offset)
        if self._file >= 0:
            self._former.append(self._file)
            self.due.set()
        self._file = file

    def _write_note(self, file: int, offset: int) -> None:
        """Note that the file's end is at `offset` of the log."""
        found = os.fstat(file)
        note = Note(offset - found.st_size, found.st_ino, self._container)
        temporary = self._note.with_name(self._note.name + ".new")
        temporary.write_bytes(msgspec.msgpack.encode(note))
        temporary.replace(self._note)

    def _drop_next(self) -> None:
        if self._next >= 0:
            os.close(self._next)
            self._next = -1

    def _reached(self) -> int:
        try:
            note = msgspec.msgpack.decode(self._note.read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            note = None
        if note is None or note.container not in ("", self._container) or not abs(note.base) <= MOST_BYTES:
            # Nothing of this container was ever written: what is there is another's, and is written after.
            return 0
        # The noted file may have been moved away by a rotation while nobody copied.
        for entry in self._beside():
            if entry.inode() == note.inode:
                return note.base + entry.stat(follow_symlinks=False).st_size
        return max(note.base, 0)

    def _beside(self) -> list[os.DirEntry[str]]:
        """The file and those that it was moved to."""
        return [entry for entry in os.scandir(self.path.parent) if entry.name.startswith(self.path.name)]
