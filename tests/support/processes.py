"""What /proc tells of processes that may end while they are looked at."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def command_line(pid: int) -> bytes:
    """Its words, each ended by a NUL; empty where it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def members(group: Path) -> tuple[int, ...]:
    """The processes that a file `cgroup.procs` lists; none where the group is gone."""
    with suppress(OSError):
        return tuple(int(pid) for pid in group.read_text().split())
    return ()
