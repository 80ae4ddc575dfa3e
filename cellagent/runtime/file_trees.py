"""Trees of files that the controller puts on the cell, and small files that it reads back.

A tree is written beside its folder. Where there is no folder yet, one rename makes it that; where there is one, which
running containers may have mounted, what is in it is changed in place (`merging`). Folders that are to be in memory
become so once they stand: what is mounted cannot be renamed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from cellagent.kernel import mounts
from cellagent.runtime import merging
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind

LARGEST_READ = 1 << 20


class Tree:
    """One tree being written. Nothing is visible before `commit`; `drop` takes the rest away, or `clear` in the next
    life of the agent, which finds in `notes` where it is.
    """

    def __init__(self, folder: str, notes: Path, *, keep_existing: bool = False) -> None:
        self._folder = Path(os.path.normpath(folder))
        if not self._folder.is_absolute() or len(self._folder.parts) < 3:
            raise Fault(Kind.INVALID, f"folder {folder}", "it must be absolute and below another folder")
        self._beside = self._folder.with_name(f".{self._folder.name}.{os.urandom(6).hex()}")
        self._note = notes / self._beside.name.rpartition(".")[2]
        _write_down(self._note, self._beside)
        try:
            self._beside.mkdir(parents=True)
        except OSError as error:
            _remove(self._beside, self._note)
            raise Fault(Kind.BROKEN, f"folder {self._folder}", str(error.strerror)) from error
        self._keep = keep_existing and os.path.lexists(self._folder)
        self._mode = 0o755
        self._open = -1
        self._in_memory: list[wire.FileEntry] = []
        self.entries = 0

    def begin(self, entry: wire.FileEntry) -> None:
        """The next entry; a file's bytes follow."""
        self._finish()
        permissions = stat.S_IMODE(entry.mode)
        if entry.HasField("memory"):
            if not stat.S_ISDIR(entry.mode):
                raise Fault(Kind.INVALID, f"entry {entry.path}", "only a folder can be a file system in memory")
            self._in_memory.append(entry)
        if entry.path == ".":
            self._mode = permissions
            os.chown(self._beside, entry.uid, entry.gid)
            return
        path = self._inside(entry.path)
        try:
            if stat.S_ISDIR(entry.mode):
                path.mkdir(exist_ok=True, parents=True)
            elif stat.S_ISLNK(entry.mode):
                path.symlink_to(entry.target)
            elif stat.S_ISREG(entry.mode) or not stat.S_IFMT(entry.mode):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._open = os.open(path, flags, 0o600)
            else:
                raise Fault(Kind.INVALID, f"entry {entry.path}", "only files, folders and links can be put")
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
            if not stat.S_ISLNK(entry.mode):
                path.chmod(permissions)
        except OSError as error:
            raise Fault(Kind.BROKEN, f"entry {entry.path} of {self._folder}", str(error.strerror)) from error
        self.entries += 1

    def data(self, data: bytes) -> None:
        """Bytes of the file begun last."""
        if self._open < 0:
            raise Fault(Kind.INVALID, f"folder {self._folder}", "bytes came that belong to no file")
        left = memoryview(data)
        while left:
            left = left[os.write(self._open, left) :]

    def commit(self) -> list[Path]:
        """Make the tree visible, in place of what was there; what is to be removed in a moment. Raises Fault."""
        self._finish()
        try:
            late = [] if self._keep else self._show()
            for entry in self._in_memory:
                self._into_memory(entry)
        except OSError as error:
            raise Fault(Kind.BROKEN, f"folder {self._folder}", str(error)) from error
        return late

    def drop(self) -> None:
        """Take away what was not committed."""
        self._finish()
        _remove(self._beside, self._note)

    def _show(self) -> list[Path]:
        self._beside.chmod(self._mode)
        if not os.path.lexists(self._folder):
            self._beside.rename(self._folder)
            return []
        if self._folder.is_dir() and not self._folder.is_symlink():
            return merging.merge(self._beside, self._folder)
        merging.exchange(self._beside, self._folder)
        return []

    def _into_memory(self, entry: wire.FileEntry) -> None:
        """Also of a folder that was there: whoever put it may have been killed before it was mounted."""
        folder = Path(os.path.normpath(self._folder / entry.path))
        if os.path.ismount(folder):
            return
        # As a kubelet mounts them: programs may be run from there.
        mounts.tmpfs(folder, entry.memory.size_bytes, stat.S_IMODE(entry.mode), flags=0)
        os.chown(folder, entry.uid, entry.gid)
        folder.chmod(stat.S_IMODE(entry.mode))

    def _finish(self) -> None:
        if self._open >= 0:
            os.close(self._open)
            self._open = -1

    def _inside(self, path: str) -> Path:
        """Where an entry goes. No part of the way may be a link, or the tree could write outside of itself."""
        parts = Path(path).parts
        if not parts or Path(path).is_absolute() or ".." in parts:
            raise Fault(Kind.INVALID, f"entry {path}", "paths are relative and do not climb")
        here = self._beside
        for part in parts[:-1]:
            here /= part
            if here.is_symlink():
                raise Fault(Kind.INVALID, f"entry {path}", "a part of its path is a link")
        return self._beside.joinpath(*parts)


def clear(notes: Path) -> None:
    """Take away what an earlier life of the agent has left of trees that it was writing."""
    for note in notes.iterdir() if notes.is_dir() else ():
        # Also of a machine that lost its power: what it says was not made durable.
        beside = Path(note.read_text(errors="replace"))
        if beside.is_absolute() and beside.name.startswith(".") and beside.name.endswith(f".{note.name}"):
            _remove(beside, note)
        else:
            note.unlink()


def _remove(beside: Path, note: Path) -> None:
    """The note stays for as long as what it names does."""
    with suppress(OSError, ValueError):
        merging.remove(beside)
    if not os.path.lexists(beside):
        note.unlink(missing_ok=True)


def _write_down(note: Path, beside: Path) -> None:
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        note.write_text(str(beside))
    except OSError as error:
        raise Fault(Kind.BROKEN, f"file {note}", str(error.strerror)) from error


def read_end(path: str, limit: int) -> bytes:
    """The last bytes of a file; none where there is none."""
    wanted = min(limit or LARGEST_READ, LARGEST_READ)
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - wanted, 0))
            return file.read(wanted)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise Fault(Kind.BROKEN, f"file {path}", str(error.strerror)) from error
