"""Merging of a folder into another, which a container has mounted: the folder itself must stay.

Files change by renames only, in the order in which a kubelet writes a volume: a new generation's folder first, then
the link `..data` to it, then the links by which a reader finds the keys, and what is not wanted any more goes last.
So a reader sees each file whole, old or new. The old generation outlives the swap for a moment, for readers that are
on their way through it; who merges removes it then.
"""

from __future__ import annotations

import filecmp
import os
import stat
from pathlib import Path

from cellwire.faults import Fault, Kind
from hostkit import files, syscalls

GENERATION = ".."


def merge(new: Path, old: Path) -> list[Path]:
    """Move what is in `new` into `old`; the generations that are to be removed in a moment. Raises OSError, Fault."""
    wanted = sorted(new.iterdir(), key=_turn)
    names = {path.name for path in wanted}
    late: list[Path] = []
    for path in wanted:
        late += _take(path, old / path.name)
    for path in tuple(old.iterdir()):
        if path.name in names:
            continue
        if path.name.startswith(GENERATION):
            late.append(path)
        else:
            remove(path)
    _copy_owner(new, old)
    return late


def exchange(new: Path, old: Path) -> bool:
    """Swap two paths in one step; false where there is no old one. Raises Fault."""
    try:
        syscalls.exchange(str(new), str(old))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Fault(Kind.BROKEN, f"folder {old}", str(error.strerror)) from error
    return True


def remove(path: Path) -> None:
    """Take away a file, a link or a whole folder; what is gone already is gone."""
    if path.is_dir() and not path.is_symlink():
        files.remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _turn(path: Path) -> tuple[int, str]:
    generation = path.name.startswith(GENERATION)
    if generation:
        return (1 if path.is_symlink() else 0, path.name)
    return (2, path.name)


def _take(new: Path, old: Path) -> list[Path]:
    try:
        present = old.lstat().st_mode
    except FileNotFoundError:
        new.rename(old)
        return []
    if stat.S_ISDIR(present) and new.is_dir() and not new.is_symlink():
        return merge(new, old)
    if not _same(new, old):
        if stat.S_ISDIR(present) or (new.is_dir() and not new.is_symlink()):
            exchange(new, old)
        else:
            new.rename(old)
    return []


def _same(new: Path, old: Path) -> bool:
    a, b = new.lstat(), old.lstat()
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid):
        return False
    if stat.S_ISLNK(a.st_mode):
        return new.readlink() == old.readlink()
    return stat.S_ISREG(a.st_mode) and filecmp.cmp(new, old, shallow=False)


def _copy_owner(new: Path, old: Path) -> None:
    wanted, present = new.stat(), old.stat()
    if (wanted.st_uid, wanted.st_gid) != (present.st_uid, present.st_gid):
        os.chown(old, wanted.st_uid, wanted.st_gid)
    if wanted.st_mode != present.st_mode or present.st_mode & (stat.S_ISUID | stat.S_ISGID):
        old.chmod(stat.S_IMODE(wanted.st_mode))
