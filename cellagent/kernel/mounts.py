"""Mounts, as values and by the system calls. Everything here blocks for microseconds and needs root.

What is to be mounted is a `Mount`, which tests read without root; `Mount.do()` carries it out. Sources: mount(2),
mount_setattr(2), overlayfs in the kernel's documentation.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from hostkit import mountinfo, syscalls
from hostkit.syscalls import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SLAVE,
)

# mount(2) takes one page of options, the ending NUL among them.
OPTIONS_LIMIT = 4095

# The newer calls have the same numbers on every architecture.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_MOVE_MOUNT_F_EMPTY_PATH = 4
_ATTR_RDONLY, _ATTR_IDMAP = 0x1, 0x100000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class MountCall(msgspec.Struct, frozen=True):
    """The arguments of one mount(2)."""

    source: str
    target: str
    kind: str = ""
    flags: int = 0
    options: str = ""

    def do(self) -> None:
        """Carry it out. Raises Fault naming both ends."""
        mount(self.source, self.target, self.kind, self.flags, self.options)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Carry out one mount. Raises Fault naming both ends."""
    with _told():
        syscalls.mount(source, target, kind, flags, options)


def bind(source: Path, target: Path, *, readonly: bool = False, recursive: bool = True) -> None:
    """Bind a folder or file over an existing one. Read-only holds for every mount below it too where `recursive`."""
    mount(str(source), str(target), "", MS_BIND | (MS_REC if recursive else 0))
    if not readonly:
        return
    try:
        set_readonly(target, recursive=recursive)
    except Fault:
        unmount(target)
        raise


def set_readonly(target: Path, *, recursive: bool = True) -> None:
    """Make a mount read-only, with all below it where `recursive`."""
    _set_attributes(_AT_FDCWD, str(target), _AT_RECURSIVE if recursive else 0, _ATTR_RDONLY, 0)


def bind_idmapped(source: Path, target: Path, userns: Path) -> None:
    """Bind a folder so that its files appear with the ids of a user namespace (a pinned or /proc file of it)."""
    with _copy_of(_AT_FDCWD, str(source)) as tree:
        _map_ids(tree, userns)
        _put(tree, target)


def bind_open(descriptor: int, target: Path, *, shared: bool = False, userns: Path | None = None) -> None:
    """Bind what a descriptor is of, wherever its path leads by now; with the ids of `userns` as `bind_idmapped` does.

    Unless it is `shared`, what is mounted or unmounted in it is so nowhere else: it must be to be taken away safely.
    """
    with _copy_of(descriptor, "") as tree:
        late = not shared and not _set_propagation(tree, MS_SLAVE)
        if userns is not None:
            _map_ids(tree, userns)
        _put(tree, target)
    if late:
        mount("", str(target), "", MS_REC | MS_SLAVE)


def keep_apart(target: Path) -> None:
    """From now on what is unmounted in a mount is so nowhere else. What is not mounted, or not there, is no error."""
    with _told(errno.EINVAL, errno.ENOENT):
        syscalls.mount("", str(target), "", MS_REC | MS_PRIVATE)


def overlay_mount(lowers: Sequence[str], upper: Path | str | None, work: Path | str | None, target: Path) -> MountCall:
    """The one mount that stacks `lowers`, topmost first. Pure."""
    options = "lowerdir=" + ":".join(_escaped(lower) for lower in lowers)
    if upper is not None:
        options += f",upperdir={_escaped(str(upper))},workdir={_escaped(str(work))}"
    return MountCall("overlay", str(target), "overlay", 0, options + ",index=off,redirect_dir=off")


def overlay(
    lowers: Sequence[Path],
    upper: Path | str | None,
    work: Path | str | None,
    target: Path,
    *,
    userns: Path | None = None,
) -> None:
    """Stack `lowers` (topmost first), writable in `upper`; without `upper` read-only.

    With `userns` the layers' files appear with the ids of that user namespace. Layers whose paths would not fit into
    mount's one page, and those that are mapped, are reached by short names that go as soon as the stack stands.
    """
    if upper is None and len(lowers) == 1 and userns is None:
        bind(lowers[0], target, readonly=True)
        return
    if upper is None and not lowers:
        bind(target, target, readonly=True)
        return
    # An overlay wants a layer below the writable one, or two that are read-only. The empty one stays as long as the
    # stack: the kernel lists no folder that has a deleted one in it.
    padding = [_empty_beside(target)] if len(lowers) < (1 if upper is not None else 2) else []
    if userns is None:
        plan = overlay_mount([*map(str, lowers), *padding], upper, work, target)
        if len(plan.options) <= OPTIONS_LIMIT:
            plan.do()
            return
    with _short_names(lowers, userns) as names:
        plan = overlay_mount([*names, *padding], upper, work, target)
        if len(plan.options) > OPTIONS_LIMIT:
            raise Fault(Kind.UNSUPPORTED, f"overlay at {target}", f"{len(lowers)} layers are too many for one mount")
        plan.do()


def _empty_beside(target: Path) -> str:
    empty = target.with_name(f"{target.name}-empty")
    empty.mkdir(exist_ok=True, mode=0o755)
    return str(empty)


@contextmanager
def _short_names(lowers: Sequence[Path], userns: Path | None) -> Generator[list[str]]:
    folder = Path(tempfile.mkdtemp(prefix="o", dir="/run"))
    names: list[Path] = []
    try:
        for number, lower in enumerate(lowers):
            name = folder / f"{number:x}"
            if userns is None:
                name.symlink_to(lower.absolute())
                names.append(name)
            else:
                name.mkdir()
                names.append(name)
                bind_idmapped(lower, name, userns)
        yield [str(name) for name in names]
    finally:
        for name in names:
            if userns is None:
                name.unlink()
            else:
                unmount(name)
                name.rmdir()
        folder.rmdir()


def tmpfs(target: Path, size: int, mode: int = 0o1777, *, flags: int = MS_NOSUID | MS_NODEV | MS_NOEXEC) -> None:
    """A file system in memory of `size` bytes; 0 is half of the machine's memory."""
    limit = f"size={size}," if size else ""
    mount("tmpfs", str(target), "tmpfs", flags, f"{limit}mode={mode:o}")


def unmount(target: Path, *, lazy: bool = True) -> None:
    """Take the topmost mount off; what is not mounted, or not there, is no error."""
    with _told(errno.EINVAL, errno.ENOENT):
        syscalls.unmount(str(target), MNT_DETACH if lazy else 0)


def unmount_below(root: Path) -> None:
    """Take off all that is mounted at or below a folder, however often, the deepest first."""
    for point in mounted_below(root):
        unmount(point)


def mounted_below(root: Path) -> list[Path]:
    """What is mounted at or below a folder, the deepest (and latest) first; one entry per mount."""
    return mountinfo.below(root, mountinfo.own())


def become_root(folder: Path) -> None:
    """Make an empty read-only tmpfs at `folder` the root of this mount namespace, and let go of all else.

    For a thread that has entered a mount namespace of its own: all processes there get the new root.
    """
    mount("", "/", "", MS_REC | MS_PRIVATE)
    mount("tmpfs", str(folder), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=755")
    with _told():
        syscalls.pivot_root(str(folder))
    mount("", "/", "", MS_REMOUNT | MS_RDONLY | MS_BIND)


@contextmanager
def _copy_of(descriptor: int, path: str) -> Generator[int]:
    """A copy of a mount, and of all below, that is nowhere yet: of what is at a path, or of what a descriptor is of."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE | (0 if path else _AT_EMPTY_PATH)
    tree = _libc.syscall(_OPEN_TREE, descriptor, path.encode(), flags)
    if tree < 0:
        raise _fault(f"mount of {path or 'an open file'}")
    try:
        yield tree
    finally:
        os.close(tree)


def _map_ids(tree: int, userns: Path) -> None:
    try:
        namespace = os.open(userns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Fault(Kind.BROKEN, f"user namespace {userns}", str(error.strerror)) from error
    try:
        _set_attributes(tree, "", _AT_EMPTY_PATH | _AT_RECURSIVE, _ATTR_IDMAP, namespace)
    finally:
        os.close(namespace)


def _put(tree: int, target: Path) -> None:
    if _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, str(target).encode(), _MOVE_MOUNT_F_EMPTY_PATH) != 0:
        raise _fault(f"mount at {target}")


def _set_propagation(tree: int, propagation: int) -> bool:
    """False where the kernel (before 5.12) cannot do so before the mount is somewhere."""
    wanted = struct.pack("=QQQQ", 0, 0, propagation, 0)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    if _libc.syscall(_MOUNT_SETATTR, tree, b"", flags, wanted, len(wanted)) == 0:
        return True
    if ctypes.get_errno() == errno.ENOSYS:
        return False
    raise _fault("propagation of a mount")


def _set_attributes(descriptor: int, path: str, flags: int, attributes: int, userns: int) -> None:
    wanted = struct.pack("=QQQQ", attributes, 0, 0, max(userns, 0))
    if _libc.syscall(_MOUNT_SETATTR, descriptor, path.encode(), flags, wanted, len(wanted)) == 0:
        return
    if attributes == _ATTR_RDONLY and ctypes.get_errno() == errno.ENOSYS:
        mount("", path, "", MS_BIND | MS_REMOUNT | MS_RDONLY)
        return
    raise _fault(f"mount attributes of {path or 'an id-mapped mount'}")


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


@contextmanager
def _told(*but: int) -> Generator[None]:
    """A system call's error as a Fault; none of the numbers in `but`."""
    try:
        yield
    except OSError as error:
        if error.errno not in but:
            raise _fault(str(error.filename), error.errno or 0) from error


def _fault(what: str, number: int = 0) -> Fault:
    number = number or ctypes.get_errno()
    mend = "run the agent as root" if number == errno.EPERM else ""
    return Fault(Kind.BROKEN, what, os.strerror(number), mend)
