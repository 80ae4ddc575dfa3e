"""Files of control groups, whichever version: reading, writing, and what it takes to empty and remove a group.

What a group is for, and in which hierarchies it is, is known by the rooms that make it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_CPUSET = ("cpuset.cpus", "cpuset.mems")


def text(path: Path) -> str:
    """The text of a file; empty where the file is not there."""
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except OSError:
        return ""


def beside_version_1(mounts: str, held: str, known: str) -> str:
    """The controllers that version 2 holds beside version 1, for which crun refuses a machine; "" where none. Pure.

    From the texts of /proc/mounts, of version 2's own list of controllers, and of /proc/cgroups. Huge pages count
    without being in that list, which is a group's own: crun looks for them wherever no version 1 hierarchy holds them.
    """
    rows = [line.split(" ") for line in mounts.splitlines()]
    if not {"cgroup", "cgroup2"} <= {row[2] for row in rows}:
        return ""
    if held.strip():
        return held.strip()
    if any(row[2] == "cgroup" and "hugetlb" in row[3].split(",") for row in rows):
        return ""
    fields = next((line.split() for line in known.splitlines() if line.startswith("hugetlb")), [])
    return "hugetlb" if len(fields) > 3 and fields[3] == "1" else ""


def number(path: Path) -> int:
    """The one number in a file; 0 where the file, or a number in it, is not there."""
    word = text(path).strip()
    return int(word) if word.isdecimal() else 0


def table(path: Path) -> dict[str, int]:
    """Lines of "key number" as a table; empty where the file is not there."""
    pairs = (line.partition(" ") for line in text(path).splitlines())
    return {key: int(value) for key, _, value in pairs if value.isdecimal()}


def write(path: Path, value: str) -> None:
    """Set a file that the kernel has made. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def try_to_write(path: Path, value: str) -> None:
    """The same, where a kernel may not have the file, or refuse."""
    with suppress(OSError):
        write(path, value)


def fill_cpuset(group: Path) -> None:
    """Give a group the processors of the one above: version 1 leaves it without any, and nothing may enter it then."""
    for name in _CPUSET:
        if not (group / name).read_text().strip():
            write(group / name, (group.parent / name).read_text().strip())


def groups(top: Path) -> list[Path]:
    """A group and all below it, the innermost first; none where it is not there."""
    found, left = [], [top] if top.is_dir() else []
    while left:
        found.append(left.pop())
        with suppress(OSError):
            left += [Path(each) for each in os.scandir(found[-1]) if each.is_dir(follow_symlinks=False)]
    return found[::-1]


def pids(tops: Iterable[Path]) -> set[int]:
    """All processes in these groups and below."""
    words = (word for top in tops for group in groups(top) for word in text(group / "cgroup.procs").split())
    return {int(word) for word in words}


def kill(tops: Iterable[Path]) -> set[int]:
    """SIGKILL to all in these groups and below; gives those that were there. To be repeated until none is."""
    tops = list(tops)
    for top in tops:
        try_to_write(top / "cgroup.kill", "1")  # version 2: with all below
    found = pids(tops)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # A frozen process of version 1 cannot die.
    for top in tops:
        for group in groups(top):
            try_to_write(group / "freezer.state", "THAWED")
    return found


def remove(tops: Iterable[Path]) -> list[Path]:
    """Remove empty groups with all below; gives those that still hold something."""
    left: list[Path] = []
    for top in tops:
        for group in groups(top):
            try:
                group.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                left.append(group)
    return left
