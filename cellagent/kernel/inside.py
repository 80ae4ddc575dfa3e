"""Opening paths below a folder that holds what others wrote, such as the root of an image, or a volume.

Either as a process would whose root the folder is (links and ".." end at its wall), or so that whatever leads out of it
is refused. Source: openat2(2), RESOLVE_IN_ROOT and RESOLVE_BENEATH.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from pathlib import Path, PurePosixPath

# The same number on every architecture.
_OPENAT2 = 437
_NO_MAGIC_LINKS, _NO_LINKS, _BENEATH, _IN_ROOT = 0x02, 0x04, 0x08, 0x10
_AGAIN = 16
_LEAST = 4096  # bytes of one read: of a file in memory the kernel may not tell how long it is

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def opened(root: Path, path: str, flags: int = os.O_RDONLY, *, links: bool = True) -> int:
    """A descriptor of `path` as seen by who has `root` as root. Raises OSError (FileNotFoundError where none is).

    Without `links` no part of the way may be one: ELOOP.
    """
    return _opened(root, path, flags, _NO_MAGIC_LINKS | _IN_ROOT | (0 if links else _NO_LINKS))


def part(root: Path, path: str) -> int:
    """A descriptor (O_PATH) of `path` below `root`, wherever its links lead within that.

    Raises OSError: EXDEV where the path, or a link in it, leads out; an absolute link does.
    """
    return _opened(root, path, os.O_PATH, _NO_MAGIC_LINKS | _BENEATH)


def make_part(root: Path, path: str) -> None:
    """Make folders, of the mode of `root`, of those of the path's names that are not there. Raises OSError, as `part`
    does; nothing is made outside of `root`.
    """
    names = PurePosixPath(path).parts
    if ".." in names:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    mode = stat.S_IMODE(root.stat().st_mode)
    above = "."
    for name in names:
        here = f"{above}/{name}" if not name.startswith("/") else name
        try:
            os.close(part(root, here))
        except FileNotFoundError:
            _make_folder(root, above, name, mode)
            # Not there still: the name is that of a link to nothing.
            os.close(part(root, here))
        above = here


def _make_folder(root: Path, above: str, name: str, mode: int) -> None:
    folder = part(root, above)
    try:
        os.mkdir(name, mode, dir_fd=folder)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.fchmod(made, mode)  # whatever the umask is
        finally:
            os.close(made)
    except FileExistsError:
        pass  # a link to nothing, or another container's look has made it meanwhile
    finally:
        os.close(folder)


def _opened(root: Path, path: str, flags: int, resolve: int) -> int:
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    try:
        # The kernel says EAGAIN where anything is renamed or mounted meanwhile.
        for _ in range(_AGAIN):
            descriptor = _libc.syscall(_OPENAT2, folder, os.fsencode(path), how, len(how))
            if descriptor >= 0:
                return descriptor
            if ctypes.get_errno() != errno.EAGAIN:
                break
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(folder)


def place(root: Path, path: str) -> Path:
    """Where `path` leads below `root`, as a path of this machine. Raises OSError."""
    descriptor = opened(root, path, os.O_PATH)
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    finally:
        os.close(descriptor)


def content(root: Path, path: str, limit: int) -> bytes:
    """The whole of a regular file below `root`. Raises OSError; EFBIG where it has more than `limit` bytes."""
    descriptor = opened(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        # One byte more than there should be: it may grow, and a read has room made for all that it asks for.
        found = b""
        while len(found) <= limit and (more := os.read(descriptor, min(max(seen.st_size, _LEAST), limit) + 1)):
            found += more
    finally:
        os.close(descriptor)
    if len(found) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
    return found
