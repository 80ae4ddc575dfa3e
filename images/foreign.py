"""Trees of another architecture, made without running a program of theirs.

Packages are only unpacked. What their scripts write (users, certificates, alternatives, links of units) is the same on
each architecture, and is taken from a tree of this machine's own architecture with the same packages.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from images.commands import run

# What is written anew for the other architecture, or belongs to dpkg and apt, which know of other packages.
_NOT_ALIKE = ("boot", "dev", "etc/ld.so.cache", "proc", "sys", "usr/lib/modules", "var/cache", "var/lib/apt")
_NOT_ALIKE_EITHER = ("var/lib/dpkg", "initrd.img", "initrd.img.old", "vmlinuz", "vmlinuz.old")
_MERGED = ("bin", "lib", "lib64", "sbin")


def packages(native: Path, own: str, architecture: str) -> tuple[str, ...]:
    """The packages that a tree of another architecture needs to be as this one."""
    names = run(["dpkg-query", "-W", "-f=${Package}\\n"], root=native).decode().split()
    ending = f"-{own}"
    return tuple(sorted(f"{name.removesuffix(own)}{architecture}" if name.endswith(ending) else name for name in names))


def written_by_scripts(native: Path) -> tuple[str, ...]:
    """What there is in a tree that none of its packages has, parents first."""
    lists = sorted((native / "var/lib/dpkg/info").glob("*.list"))
    owned = {_merged(line.lstrip("/")) for each in lists for line in each.read_text().splitlines()}
    found: list[str] = []
    for folder, names, files in os.walk(native):
        inside = Path(folder).relative_to(native)
        names[:] = sorted(name for name in names if name != "__pycache__" and _alike(str(inside / name)))
        found += (str(inside / name) for name in (*names, *sorted(files)))
    return tuple(path for path in found if path not in owned and _alike(path))


def configure(tree: Path, native: Path) -> None:
    """Have an unpacked tree as the packages' scripts would leave it. Raises Fault."""
    for path in written_by_scripts(native):
        source, target = native / path, tree / path
        if os.path.lexists(target) and not target.is_dir():
            target.unlink()
        if source.is_dir() and not source.is_symlink():
            target.mkdir(exist_ok=True)
            shutil.copystat(source, target, follow_symlinks=False)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    for folder, names, files in os.walk(native):
        for name in (*names, *files):
            path = Path(folder, name)
            _owned_alike(path, tree / path.relative_to(native))


def _owned_alike(source: Path, target: Path) -> None:
    """Owner and mode, which scripts may have changed, of what both trees have."""
    if not os.path.lexists(target):
        return
    wanted, there = source.lstat(), target.lstat()
    if stat.S_IFMT(wanted.st_mode) != stat.S_IFMT(there.st_mode):
        return
    if (wanted.st_uid, wanted.st_gid) != (there.st_uid, there.st_gid):
        os.chown(target, wanted.st_uid, wanted.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(wanted.st_mode):
        target.chmod(stat.S_IMODE(wanted.st_mode))


def _merged(path: str) -> str:
    first, _, rest = path.partition("/")
    return f"usr/{path}" if first in _MERGED and rest else path


def _alike(path: str) -> bool:
    return not any(path == one or path.startswith(f"{one}/") for one in (*_NOT_ALIKE, *_NOT_ALIKE_EITHER))
