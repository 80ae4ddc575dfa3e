"""What /proc tells of processes that may end while they are looked at."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def command_line(pid: int) -> bytes:
    """Its words, each ended by a NUL; empty where it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def first_of(pids: Iterable[int]) -> int:
    """The process of a local instance that is the first in the instance's own numbering, and in none within that."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            numbers = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
            if len(numbers) == 2 and numbers[1] == "1":
                return pid
    raise AssertionError("the instance has no first process")
