"""Namespaces that outlive the agent: pinned as files.

Network, ipc and uts need no process and are made on a thread. A pid namespace lives as long as its first process, so
it gets a holder: `sleep`, which leaves reaping to the kernel (it ignores SIGCHLD) and has an empty root of its own, so
that no container finds the cell's files at /proc/1/root. Namespaces under a user namespace are made by that holder.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from cellagent.kernel import mounts, namespace_init
from cellagent.kernel import sysctls as kernel_settings
from cellagent.kernel.namespace_init import IdMap
from cellagent.kernel.threads import Result, enter, leave, on_own_thread, set_hostname
from cellwire.faults import Fault, Kind
from hostkit import programs

__all__ = ["KINDS", "IdMap", "create", "holder", "inside", "on_own_thread", "pinned", "remove"]

# In the order in which they are unpinned: the user namespace owns the others.
KINDS = ("net", "ipc", "uts", "pid", "user")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


async def create(
    folder: Path,
    kinds: Collection[str],
    *,
    hostname: str = "",
    sysctls: Mapping[str, str] | None = None,
    uids: Sequence[IdMap] = (),
    gids: Sequence[IdMap] = (),
) -> dict[str, Path]:
    """Make namespaces of these kinds (of "net", "ipc", "uts", "pid", "user") and pin each as a file in `folder`.

    A "user" namespace owns the others and maps `uids` and `gids`. What a killed agent left in `folder` is replaced.
    Raises Fault, and leaves nothing then.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise Fault(Kind.INVALID, f"namespaces {' '.join(unknown)}", "there are no such kinds")
    kernel_settings.refuse_foreign(sysctls or {}, kinds)
    folder.mkdir(parents=True, exist_ok=True)
    remove(folder)
    paths = {kind: folder / kind for kind in KINDS if kind in kinds}
    try:
        if "user" in paths or "pid" in paths:
            held = tuple(paths) if "user" in paths else ("pid",)
            await namespace_init.hold(folder, held, uids=uids, gids=gids)
        await on_own_thread(lambda: _make(paths, hostname, sysctls or {}), undo=lambda: remove(folder))
        if "user" in paths:
            await _sysctls_as_owner(paths, sysctls or {})
    except BaseException:
        remove(folder)
        raise
    return paths


def remove(folder: Path) -> None:
    """Unpin and end the holder; a namespace in which nothing runs is gone with that. The unknown is no error."""
    namespace_init.release(folder)
    for kind in KINDS:
        path = folder / kind
        if path.exists():
            # Twice pinned is possible where an agent died; what is not mounted is no error.
            for point in mounts.mounted_below(path):
                mounts.unmount(point)
            path.unlink(missing_ok=True)


def pinned(path: Path) -> bool:
    """Whether a namespace is still mounted there: a plain file is what a reboot leaves of it."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def holder(folder: Path) -> int:
    """The process id of the holder of a folder's pid namespace, to be put into the pod's group; 0 without one."""
    return namespace_init.running(folder)


async def inside(netns: Path, function: Callable[[], Result]) -> Result:
    """Run a short function in a network namespace, on a thread that ends with it."""

    def work() -> Result:
        enter(netns, "net")
        return function()

    return await on_own_thread(work)


def _make(paths: Mapping[str, Path], hostname: str, sysctls: Mapping[str, str]) -> None:
    fresh = [kind for kind, path in paths.items() if not path.exists()]
    if fresh:
        leave(*fresh)
    for kind, path in paths.items():
        if kind not in fresh and kind in {"net", "ipc", "uts"}:
            enter(path, kind)
    _furnish(paths, hostname)
    if "user" not in paths:
        for name, text in sysctls.items():
            _sysctl(name, text)
    for kind in fresh:
        namespace_init.pin(Path(f"/proc/thread-self/ns/{kind}"), paths[kind])


def _furnish(paths: Mapping[str, Path], hostname: str) -> None:
    if "uts" in paths and hostname:
        set_hostname(hostname)
    if "net" in paths:
        loopback_up()


def loopback_up() -> None:
    """Bring up the loopback of this thread's network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(door, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(door, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def _sysctl(name: str, text: str) -> None:
    try:
        kernel_settings.path(name).write_text(text)
    except OSError as error:
        raise Fault(Kind.INVALID, f"sysctl {name}={text}", os.strerror(error.errno or 0)) from error


async def _sysctls_as_owner(paths: Mapping[str, Path], sysctls: Mapping[str, str]) -> None:
    # Some settings may be written by nobody but the root user of the namespace's owner.
    enter_all = [f"--{kind}={path}" for kind, path in paths.items() if kind != "pid"]
    for name, text in sysctls.items():
        write = ["sh", "-c", 'printf %s "$1" > "$0"', str(kernel_settings.path(name)), text]
        done = await programs.run(["nsenter", *enter_all, *write], deadline=10)
        if done.returncode:
            raise Fault(Kind.INVALID, f"sysctl {name}={text}", done.words)
