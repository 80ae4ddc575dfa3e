"""Giving back the space that the beginning of a file takes, while others append to it and count its bytes as before."""

from __future__ import annotations

import ctypes
import os

_KEEP_SIZE, _PUNCH_HOLE = 0x1, 0x2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def whole_blocks(path: str, length: int) -> int:
    """The part of the first `length` bytes of a file that is whole blocks: only these can be given back."""
    block = os.statvfs(path).f_bsize
    return min(length, os.stat(path).st_size) // block * block


def give_back(path: str, inode: int, length: int) -> None:
    """Free the first `length` bytes of a file, which read as zeros then; another file at its path is left alone.

    For a thread. Raises OSError: EOPNOTSUPP, with nothing done, where the file system cannot.
    """
    with open(path, "r+b", buffering=0) as file:
        if os.fstat(file.fileno()).st_ino != inode:
            return
        if _libc.fallocate(file.fileno(), _PUNCH_HOLE | _KEEP_SIZE, 0, length):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))


def first_data(descriptor: int) -> int:
    """How many bytes at the beginning of a file are given back, as far as the file system tells. Moves its position."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:  # there are no data, or nobody can tell
        return 0
