"""Gives back to the disk what is oldest of copied logs, while copies go on and others read.

The beginning of a file becomes a hole: its bytes are counted as before, so a copy keeps its place, and the first line
after the hole says how many there were. Readers begin there (`first_data`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from controller.logs.lines import cut_line
from hostkit import syscalls
from hostkit.files import first_data

# The end of a log always stays: it tells what became of the container.
KEPT_END = 64 << 10


def within(files: Sequence[Path], most: int) -> int:
    """Give back bytes of these files, the oldest first, until they hold about `most`; how many were given back.

    For a thread. Raises OSError: EOPNOTSUPP, with nothing changed, where the file system cannot.
    """
    held = [_held(path) for path in files]
    given = 0
    for path, size in zip(files, held, strict=True):
        if (excess := sum(held) - given - most) > 0:
            given += _cut(path, min(excess, size - KEPT_END), most)
    return given


def _held(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return os.fstat(descriptor).st_size - first_data(descriptor)
    finally:
        os.close(descriptor)


def _cut(path: Path, wanted: int, most: int) -> int:
    """Give back about so many bytes more of a file; how many were."""
    if wanted <= 0:
        return 0
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        before = first_data(descriptor)
        block = os.fstatvfs(descriptor).f_bsize
        end = (before + wanted) // block * block
        rest = os.pread(descriptor, KEPT_END, end)
        line = cut_line(end, most, rest)
        if end <= before or not line:
            return 0
        # First the line: an end in between leaves one that says too much, and no log that begins in the middle of one.
        os.pwrite(descriptor, line, end)
        try:
            syscalls.punch_hole(descriptor, end)
        except OSError:
            os.pwrite(descriptor, rest[: len(line)], end)
            raise
        return end - before
    finally:
        os.close(descriptor)
