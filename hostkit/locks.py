"""Locks between processes: flock(2), which ends with the last process that holds the descriptor."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_LOOK_SECONDS = 0.02


@contextmanager
def file(path: Path) -> Generator[int]:
    """The descriptor of a lock file, made where it is not there, closed at the end: with it its lock goes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def held(path: Path) -> Generator[None]:
    """Hold the lock of a file. Blocks until it is free: for what others hold for moments, or before there is a loop."""
    with file(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def take(descriptor: int) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def wait(descriptor: int, patience: float) -> bool:
    """Take the lock once it is free; false where it is not within `patience` seconds."""
    until = time.monotonic() + patience
    while not take(descriptor):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True
