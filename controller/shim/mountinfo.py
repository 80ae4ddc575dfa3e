"""This machine's table of mounts, as far as it tells what a kubelet has prepared. Pure: text in, values out.

Source of the format: proc_pid_mountinfo(5).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Mount(msgspec.Struct, frozen=True):
    """One mount: `root` is what it shows of the file system on `device`, `options` are the file system's own."""

    device: str
    root: str
    point: str
    kind: str
    options: tuple[str, ...]


def parsed(text: str) -> list[Mount]:
    """All mounts, the later over the earlier."""
    found: list[Mount] = []
    for line in text.splitlines():
        mount, mark, system = line.partition(" - ")
        row, of_system = mount.split(" "), system.split(" ")
        if mark and len(row) > 4 and len(of_system) > 2:
            options = tuple(of_system[2].split(","))
            found.append(Mount(row[2], _plain(row[3]), _plain(row[4]), of_system[0], options))
    return found


def at(point: str, mounts: Sequence[Mount]) -> Mount | None:
    """What is mounted at a folder or file itself."""
    return next((one for one in reversed(mounts) if one.point == point), None)


def holder(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that a path lies on: the last one with the longest path above it."""
    above = [one for one in mounts if PurePosixPath(path).is_relative_to(one.point)]
    longest = max((len(one.point) for one in above), default=0)
    return next((one for one in reversed(above) if len(one.point) == longest), None)


def size(mount: Mount) -> int:
    """The bytes that a file system in memory may hold; 0 where it does not say."""
    text = next((one.removeprefix("size=") for one in mount.options if one.startswith("size=")), "")
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    return int(number) * unit if number.isdigit() else 0


def _plain(text: str) -> str:
    """Space, tab, newline and backslash are written as three octal digits."""
    if "\\" not in text:
        return text
    for escaped, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, letter)
    return text
