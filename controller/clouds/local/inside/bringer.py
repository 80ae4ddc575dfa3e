"""The process that brings shared layers, shut in: it speaks to registries that pods name, beside the controller.

It sees programs, authorities and its own folder, nothing else of this machine, and no process but its own; it keeps the
capabilities that layers need, and none to mount or to make devices. An image that has such things is not shared.
Standard library only; started as `python -I -S`, with the plan as its argument.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from hostkit import syscalls
from hostkit.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from controller.clouds.local.inside.boot_plan import BringerPlan

_PROGRAMS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr", "/etc/alternatives")
_AUTHORITIES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted")
_COPIED = ("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "ld.so.cache", "ssl/openssl.cnf")
_DEVICES = ("null", "zero", "random", "urandom")
# Owners and modes as layers say, the wall around each layer, and file capabilities.
_KEPT = (
    syscalls.CAP_CHOWN,
    syscalls.CAP_DAC_OVERRIDE,
    syscalls.CAP_FOWNER,
    syscalls.CAP_FSETID,
    syscalls.CAP_SETFCAP,
    syscalls.CAP_SYS_CHROOT,
)
_DESCRIPTORS = 1024


def main() -> None:
    """Make the room, fork its first process, and end as that does."""
    plan: BringerPlan = json.loads(sys.argv[1])
    for group in plan["groups"]:
        _write(f"{group}/cgroup.procs", "0")
    _write("/proc/self/oom_score_adj", "500")
    syscalls.unshare(
        syscalls.CLONE_NEWNS
        | syscalls.CLONE_NEWUTS
        | syscalls.CLONE_NEWIPC
        | syscalls.CLONE_NEWPID
        | syscalls.CLONE_NEWCGROUP
    )
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    _enter(plan)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (plan["room"], plan["room"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    syscalls.keep_capabilities(_KEPT)
    os.execve(plan["argv"][0], plan["argv"], plan["environment"])  # noqa: S606 - this is what it is for


def _enter(plan: BringerPlan) -> None:
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = plan["root"]
    syscalls.mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m")
    for name in ("etc/ssl", "dev", "proc", "tmp"):
        os.makedirs(f"{root}/{name}")  # noqa: PTH103
    for name in _COPIED:
        _copy(f"/etc/{name}", f"{root}/etc/{name}")
    for path in (*_PROGRAMS, *_AUTHORITIES, *plan["visible"]):
        _show(root, path)
    for name in _DEVICES:
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT | os.O_WRONLY))
        syscalls.mount(f"/dev/{name}", f"{root}/dev/{name}", flags=MS_BIND)
    # Read-only: who is root may set what is below /proc/sys, without any capability.
    syscalls.mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    _bind(plan["folder"], root + plan["folder"], MS_NOSUID | MS_NODEV)
    syscalls.pivot_root(root)


def _show(root: str, path: str) -> None:
    if os.path.lexists(root + path) or not os.path.isdir(path):  # noqa: PTH112
        return
    if os.path.islink(path) and os.path.dirname(path) == "/":  # noqa: PTH114, PTH120
        os.symlink(os.readlink(path), root + path)  # noqa: PTH115, PTH211
    else:
        _bind(path, root + path, MS_NOSUID | MS_NODEV | MS_RDONLY)


def _bind(source: str, target: str, flags: int) -> None:
    os.makedirs(target, exist_ok=True)  # noqa: PTH103
    syscalls.mount(source, target, flags=MS_BIND)
    syscalls.mount("none", target, flags=MS_BIND | MS_REMOUNT | flags)


def _copy(source: str, target: str) -> None:
    try:
        with open(source, "rb") as file:  # noqa: PTH123
            content = file.read()
    except OSError:
        return
    with open(target, "wb") as file:  # noqa: PTH123
        file.write(content)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
