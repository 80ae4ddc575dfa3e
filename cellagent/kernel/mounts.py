"""Mounts, by the system calls. Everything here blocks for microseconds and needs root."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from cellwire.faults import Fault, Kind

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2
# mount(2) takes one page of options, the ending NUL among them.
OPTIONS_LIMIT = 4095

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount, as in mount(2). Raises Fault naming both ends."""
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    if done != 0:
        words = os.strerror(ctypes.get_errno())
        raise Fault(Kind.BROKEN, f"mount of {source or kind} at {target}", words)


def bind(source: Path, target: Path, *, readonly: bool = False, recursive: bool = True) -> None:
    """Bind a folder or file over an existing one."""
    flags = MS_BIND | (MS_REC if recursive else 0)
    mount(str(source), str(target), "", flags)
    if readonly:
        mount("", str(target), "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def overlay(lowers: Sequence[Path], upper: Path | None, work: Path | None, target: Path) -> None:
    """Stack `lowers` (topmost first), writable in `upper`; without `upper` read-only.

    Paths are given relative to the common parent of the layers, so that a hundred layers fit into mount's one page.
    """
    parent = os.path.commonpath([str(lower) for lower in lowers]) if len(lowers) > 1 else "/"
    names = [os.path.relpath(lower, parent) for lower in lowers]
    if upper is None and len(names) == 1:
        bind(lowers[0], target, readonly=True)
        return
    options = "lowerdir=" + ":".join(name.replace(":", "\\:") for name in names)
    if upper is not None:
        options += f",upperdir={upper},workdir={work}"
    options += ",index=off,redirect_dir=off"
    if len(options) > OPTIONS_LIMIT:
        raise Fault(Kind.UNSUPPORTED, f"overlay at {target}", f"{len(lowers)} layers are too many for one mount")
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(parent)
        mount("overlay", str(target), "overlay", 0, options)
    finally:
        os.fchdir(here)
        os.close(here)


def tmpfs(target: Path, size: int, mode: int = 0o1777) -> None:
    """A file system in memory of `size` bytes."""
    mount("tmpfs", str(target), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, f"size={size},mode={mode:o}")


def unmount(target: Path, *, lazy: bool = True) -> None:
    """Take the topmost mount off; what is not mounted, or not there, is no error."""
    if _libc.umount2(str(target).encode(), MNT_DETACH if lazy else 0) == 0:
        return
    number = ctypes.get_errno()
    if number not in {errno.EINVAL, errno.ENOENT}:
        raise Fault(Kind.BROKEN, f"unmount of {target}", os.strerror(number))


def mounted_below(root: Path) -> list[Path]:
    """What is mounted at or below a folder, the deepest first."""
    prefix = str(root)
    found: list[Path] = []
    with Path("/proc/self/mountinfo").open() as table:
        for line in table:
            point = line.split(" ")[4].encode().decode("unicode_escape")
            if point == prefix or point.startswith(prefix + "/"):
                found.append(Path(point))
    return list(reversed(found))
