"""Which part of a volume a kubelet's subPath mount shows. Pure: the text of mountinfo in, a path out.

A kubelet binds the part to a folder of its own (`volume-subpaths/<volume>/<container>/<number>`); the runtime is told
only of that. Source of the format: proc_pid_mountinfo(5).
"""

from __future__ import annotations

from pathlib import PurePosixPath

import msgspec


class _Mount(msgspec.Struct, frozen=True):
    device: str
    root: str
    point: str


def part_of(bound: str, volume: str, mountinfo: str) -> str | None:
    """The path inside the folder `volume` that is bound to `bound`, "." for all of it; None where it is not in it."""
    mounts = _parsed(mountinfo)
    shown = next((one for one in reversed(mounts) if one.point == bound), None)
    holder = _holder(volume, mounts)
    if shown is None or holder is None or shown.device != holder.device:
        return None
    top = PurePosixPath(holder.root) / PurePosixPath(volume).relative_to(holder.point)
    # The kernel marks what was removed since: "/a/b//deleted".
    root = PurePosixPath(shown.root.removesuffix("//deleted"))
    return str(root.relative_to(top)) if root.is_relative_to(top) else None


def _holder(folder: str, mounts: list[_Mount]) -> _Mount | None:
    """The mount that a folder lies on: the last one with the longest path above it."""
    above = [one for one in mounts if PurePosixPath(folder).is_relative_to(one.point)]
    longest = max((len(one.point) for one in above), default=0)
    return next((one for one in reversed(above) if len(one.point) == longest), None)


def _parsed(mountinfo: str) -> list[_Mount]:
    rows = (line.split(" ") for line in mountinfo.splitlines())
    return [_Mount(row[2], _plain(row[3]), _plain(row[4])) for row in rows if len(row) > 4]


def _plain(text: str) -> str:
    """Space, tab, newline and backslash are written as three octal digits."""
    if "\\" not in text:
        return text
    for escaped, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, letter)
    return text
