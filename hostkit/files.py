"""Files replaced whole, made durable, or whose beginnings are given back to the disk; and trees that are removed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hostkit import syscalls

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def replace(path: Path | str, data: bytes, *, mode: int = 0o600, durable: bool = False) -> None:
    """Put a file in place at once, whole: its readers, and a successor after a kill, see the old one or the new one.

    A `durable` one outlives a loss of power too. Raises OSError, nothing changed.
    """
    made = _beside(str(path))
    descriptor = _new(made, mode)
    try:
        try:
            _fill(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(made, path)  # noqa: PTH104
    except OSError:
        Path(made).unlink(missing_ok=True)
        raise


def write(path: Path | str, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file that nobody reads yet, in place of what was there. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        _fill(descriptor, data)
    finally:
        os.close(descriptor)


def _fill(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _beside(path: str) -> str:
    # As text: every record of a runtime goes this way, and a Path costs about as much as what is done with it.
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.new"


def _new(path: str, mode: int) -> int:
    """A descriptor of a new file, in place of one that somebody who was killed has left there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        Path(path).unlink(missing_ok=True)
        return os.open(path, flags, mode)


def sync_filesystem(folder: Path) -> None:
    """Write out all that waits for the file system of a folder, and no other: one that is dead elsewhere is not waited
    for. Slow, so in a thread. Raises OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.sync_filesystem(descriptor)
    finally:
        os.close(descriptor)


def whole_blocks(path: Path, length: int) -> int:
    """The part of the first `length` bytes of a file that is whole blocks: only these can be given back."""
    block = os.statvfs(path).f_bsize
    return min(length, path.stat().st_size) // block * block


def give_back(path: Path, inode: int, length: int) -> None:
    """Free the first `length` bytes of a file, which read as zeros then and are counted as before; another file at its
    path is left alone. For a thread. Raises OSError: EOPNOTSUPP, with nothing done, where the file system cannot.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_ino == inode:
            syscalls.punch_hole(descriptor, length)
    finally:
        os.close(descriptor)


def first_data(descriptor: int) -> int:
    """Where the first byte is that was not given back, as far as the file system tells."""
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:  # there are no data, or nobody can tell
        return 0
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)


def remove_tree(folder: Path | bytes) -> None:
    """Take away a folder with all that is in it, by two descriptors however deep it is; no link is followed. What
    cannot be removed stays, and what is gone already is gone. Slow, so in a thread.

    Python's own rmtree calls itself for each folder in a folder: whoever made a thousand of them could not be removed.
    """
    try:
        top = os.open(folder, _FOLDER)
    except OSError:
        return
    try:
        with suppress(OSError):
            _empty(top)
    finally:
        os.close(top)
    with suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106 (a name in a layer is bytes)


def _empty(top: int) -> None:
    """Each folder's folders are moved to the top, where they wait for their turn."""
    prefix, number = os.urandom(8).hex(), 0
    waiting = _without_files(top)
    while waiting:
        name = waiting.pop()
        with suppress(OSError):
            inner = os.open(name, _FOLDER, dir_fd=top)
            try:
                for each in _without_files(inner):
                    moved = f"{prefix}-{number}".encode()
                    number += 1
                    with suppress(OSError):
                        os.rename(each, moved, src_dir_fd=inner, dst_dir_fd=top)
                        waiting.append(moved)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)


def _without_files(folder: int) -> list[bytes]:
    """Remove all but the folders from a folder, and name these."""
    found: list[bytes] = []
    for name in map(os.fsencode, os.listdir(folder)):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            found.append(name)
        except OSError:
            continue
    return found
