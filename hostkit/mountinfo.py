"""The table of mounts of a process. Pure but for `own`: text in, values out. Source: proc_pid_mountinfo(5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

TABLE = Path("/proc/self/mountinfo")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount: `root` is what it shows of the file system on `device`, `options` are the file system's own.

    `peers` tells how it passes mounts on ("shared:7", "master:3"); `source` is what was mounted, as it was named.
    """

    device: str
    root: str
    point: str
    peers: tuple[str, ...]
    kind: str
    options: tuple[str, ...]
    source: str = ""


def own() -> list[Mount]:
    """The mounts that this process sees."""
    return parsed(TABLE.read_text(errors="surrogateescape"))


def parsed(text: str) -> list[Mount]:
    """All mounts, the later over the earlier."""
    found: list[Mount] = []
    for line in text.split("\n"):  # a path may hold what else Python takes for the end of a line
        mount, mark, system = line.partition(" - ")
        row, of_system = mount.split(" "), system.split(" ")
        if mark and len(row) > 4 and len(of_system) > 2:
            options = tuple(of_system[2].split(","))
            found.append(
                Mount(
                    row[2], _plain(row[3]), _plain(row[4]), tuple(row[6:]), of_system[0], options, _plain(of_system[1])
                )
            )
    return found


def at(point: str, mounts: Sequence[Mount]) -> Mount | None:
    """What is mounted at a folder or file itself."""
    return next((one for one in reversed(mounts) if one.point == point), None)


def holder(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that a path lies on: the last one with the longest path above it."""
    above = [one for one in mounts if PurePosixPath(path).is_relative_to(one.point)]
    longest = max((len(one.point) for one in above), default=0)
    return next((one for one in reversed(above) if len(one.point) == longest), None)


def below(root: Path, mounts: Sequence[Mount]) -> list[Path]:
    """What is mounted at or below a folder, the deepest (and latest) first; one entry for each mount."""
    prefix = str(root).rstrip("/")
    found = [Path(one.point) for one in mounts if one.point == (prefix or "/") or one.point.startswith(prefix + "/")]
    return sorted(found, key=lambda point: len(point.parts), reverse=True)


def propagation(path: Path, mounts: Sequence[Mount]) -> str:
    """How the mount that a path lies on passes mounts on: "shared", "slave" or "private"."""
    held = holder(str(path), mounts)
    peers = held.peers if held is not None else ()
    if any(peer.startswith("shared:") for peer in peers):
        return "shared"
    return "slave" if any(peer.startswith("master:") for peer in peers) else "private"


def size(mount: Mount) -> int:
    """The bytes that a file system in memory may hold; 0 where it does not say."""
    text = next((one.removeprefix("size=") for one in mount.options if one.startswith("size=")), "")
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    return int(number) * unit if number.isdigit() else 0


def _plain(text: str) -> str:
    """Space, tab, newline and backslash are written as three octal digits."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text) if "\\" in text else text
