"""The few system calls that a machine is made of, by way of libc. Standard library only."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
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
MNT_DETACH = 0x2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def _done(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """New namespaces for this process; for CLONE_NEWPID, for its children."""
    _done(_libc.unshare(flags), f"unshare {flags:#x}")


def setns(descriptor: int, kind: int) -> None:
    """Enter a namespace, with this thread alone."""
    _done(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount, bind or remount; `options` as for the file system."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, flags, options.encode() if options else None
    )
    _done(result, f"mount {kind or 'bind'} {source} on {target}")


def unmount(target: str) -> None:
    """Detach a mount and all below it."""
    _done(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def pivot_root(root: str) -> None:
    """Make `root` the root, and let go of the old one with everything that is mounted there."""
    os.chdir(root)
    _done(_libc.syscall(_SYS_PIVOT_ROOT[os.uname().machine], b".", b"."), f"pivot_root {root}")
    unmount(".")
    os.chdir("/")


def sethostname(name: str) -> None:
    """Name this UTS namespace."""
    _done(_libc.sethostname(name.encode(), len(name)), "sethostname")
