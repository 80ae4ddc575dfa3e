"""One container's log as a file here that grows: how far it is, and where the next bytes go.

The file itself says how far the copy is: its size, after the position of its first byte, which stands in a small note
beside it. So a restart of the controller, killed or not, goes on where the last write ended, also after a kubelet has
moved the file away.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec


class Note(msgspec.Struct, frozen=True):
    """Where the file with this inode begins in the whole log of `container`; "" where an earlier version wrote it."""

    base: int
    inode: int
    container: str = ""


class Copy:
    """One container's log on its way here. Raises OSError; `offset` is always what the file holds, also after that."""

    def __init__(self, path: Path, container_id: str) -> None:
        self.path = path
        self._container = container_id
        self._note = path.with_name(f".{path.name}.begins")
        self._file = -1
        self._next = -1
        self.offset = 0

    def open(self) -> None:
        """Find out how far the copy is, and open the file to go on; one that is open already stays so."""
        if self._file >= 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.offset = self._reached()
        self._begin(self._create())

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

    @contextmanager
    def held(self) -> Generator[int]:
        """A descriptor of its own on the file, to sync it in a thread while it may be rotated."""
        descriptor = os.dup(self._file)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the file."""
        self._drop_next()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)  # a full disk may take a part
            self.offset += written
            view = view[written:]

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
        self._write_note(file)
        former, self._file = self._file, file
        if former >= 0:
            os.close(former)

    def _write_note(self, file: int) -> None:
        found = os.fstat(file)
        note = Note(self.offset - found.st_size, found.st_ino, self._container)
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
        if note is None or note.container not in ("", self._container):
            # Nothing of this container was ever written: what is there is another's, and is written after.
            return 0
        # The noted file may have been moved away by a rotation while nobody copied.
        beside = [entry for entry in os.scandir(self.path.parent) if entry.name.startswith(self.path.name)]
        for entry in beside:
            if entry.inode() == note.inode:
                return note.base + entry.stat(follow_symlinks=False).st_size
        return max(note.base, 0)
