"""Process ids, told from later processes with the same number by when they started."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Stat(NamedTuple):
    """Fields of /proc/PID/stat: `started` in clock ticks since boot."""

    name: str
    state: str
    started: int


def stat(pid: int) -> Stat | None:
    """A process, or a zombie; None where there is none."""
    with suppress(OSError, ValueError, IndexError):
        # The name, in brackets, may hold spaces and brackets; the start is the 22nd field, the 20th after it.
        name, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").partition("(")[2].rpartition(")")
        fields = rest.split()
        return Stat(name, fields[0], int(fields[19]))
    return None


def started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where there is none, or a zombie."""
    found = stat(pid)
    return 0 if found is None or found.state in "ZX" else found.started


def every() -> list[int]:
    """All processes that this one's namespace has."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def command_line(pid: int) -> list[str]:
    """The program and its arguments; empty where there is none, or a zombie."""
    try:
        return [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def mount_namespace(pid: int) -> str:
    """Tells which mounts a process sees; empty where there is none, or a zombie."""
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    """What a process has started itself and has not ended."""
    with suppress(OSError, ValueError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def boot_id() -> str:
    """Tells this run of the machine from others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
