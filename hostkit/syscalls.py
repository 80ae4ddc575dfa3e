"""System calls that Python has no words for, by way of libc. Beside cellagent/kernel the only place that loads it.

They raise OSError, and nothing but the standard library is imported: a local instance's first process uses them too.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SYS_CHROOT, CAP_SETFCAP = 0, 1, 3, 4, 18, 31

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 0x1, 0x2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def _done(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def unshare(flags: int) -> None:
    """New namespaces for this thread; for CLONE_NEWPID, for its children."""
    _done(_libc.unshare(flags), f"unshare {flags:#x}")


def setns(descriptor: int, kind: int) -> None:
    """Enter a namespace, with this thread alone."""
    _done(_libc.setns(descriptor, kind), "setns")


def sethostname(name: str) -> None:
    """The host name of this thread's UTS namespace."""
    text = name.encode()
    _done(_libc.sethostname(text, len(text)), f"hostname {name}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount, bind or remount; `options` as for the file system."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, flags, options.encode() if options else None
    )
    _done(result, f"mount of {source or kind} at {target}")


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    """Take the topmost mount off a place, and all below it."""
    _done(_libc.umount2(target.encode(), flags), f"unmount of {target}")


def pivot_root(root: str) -> None:
    """Make `root` the root of this mount namespace, and let go of the old one with all that is mounted there."""
    os.chdir(root)
    # With both arguments "." the old root ends up on top of the new one, from where it is detached.
    _done(_libc.pivot_root(b".", b"."), f"pivot_root {root}")
    unmount(".")  # an empty path is something else to umount2
    os.chdir("/")


def exchange(one: str, other: str) -> None:
    """Swap two paths in one step."""
    result = _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    _done(result, other)


def sync_filesystem(descriptor: int) -> None:
    """Write out all that waits for the file system of an open file. Slow: for a thread."""
    _done(_libc.syncfs(descriptor), "syncfs")


def punch_hole(descriptor: int, end: int) -> None:
    """Make the first `end` bytes of a file a hole; its length stays. EOPNOTSUPP where the file system cannot."""
    _done(_libc.fallocate(descriptor, _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE, 0, end), "fallocate")


def keep_capabilities(kept: Iterable[int]) -> None:
    """Give up all capabilities but these for good: neither this process nor what it executes has others ever again."""
    kept = frozenset(kept)
    for number in range(64):
        if number not in kept and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            if ctypes.get_errno() == errno.EINVAL:
                break  # this kernel has no more
            _done(-1, f"drop of capability {number}")
    _done(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _set_capabilities(sum(1 << each for each in kept))


def forgo_capability(number: int) -> None:
    """Give up one capability of this process; no effect where it has none."""
    _set_capabilities(_capabilities() & ~(1 << number))


def _capabilities() -> int:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    _done(_libc.capget(header, data), "capget")
    return data[1] | data[4] << 32


def _set_capabilities(mask: int) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFF_FFFF, mask >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)  # effective, permitted, inheritable
    _done(_libc.capset(header, data), "capset")


def inotify_init() -> int:
    """A descriptor that does not block."""
    return _done(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")


def inotify_add(descriptor: int, path: str, mask: int) -> int:
    """The number of a watch, the same again for the same inode."""
    return _done(_libc.inotify_add_watch(descriptor, os.fsencode(path), mask), path)


def inotify_remove(descriptor: int, number: int) -> None:
    """End a watch; that it has ended already is no error."""
    _libc.inotify_rm_watch(descriptor, number)


def keep_freed(most: int) -> None:
    """Have malloc keep up to so many bytes that were freed, instead of giving them back to the kernel at once.

    Each message of some hundred kilobytes is copied a few times on its way; giving back and faulting in the pages of
    those copies takes longer than all the rest of it. A libc without such a setting does as it likes.
    """
    if hasattr(_libc, "mallopt"):
        # Setting the one alone would make malloc map, and unmap, all that is larger than 128 KiB.
        _libc.mallopt(_M_TRIM_THRESHOLD, most)
        _libc.mallopt(_M_MMAP_THRESHOLD, most)
