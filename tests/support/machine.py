"""A network and mounts of a process' own, so that bridges, subnets, ports and mounts of two of them never meet.

In mounts of its own a process can also do without version 2 of control groups, which changes nothing for others: where
that is mounted beside version 1 crun refuses to run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cellagent.kernel import cgroups, mounts, namespaces, oci, threads

BESIDE = cgroups.ROOT / cgroups.BESIDE


def compile_once() -> None:
    """Have this process, and all that it starts, keep what is compiled of an import.

    Most of a test's time would go into compiling what each agent, controller and command imports.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def leave_the_machines() -> None:
    """Give this process, and all that it starts from now on, a loopback alone and a private table of mounts.

    Without the rights for it, the tests that need them do not run either.
    """
    if os.geteuid() != 0:
        return
    leave_mounts()
    threads.leave("net")
    namespaces.loopback_up()
    _show_own_links()


def leave_mounts() -> None:
    """Give this process a private table of mounts."""
    threads.leave("mnt")
    mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)


def _show_own_links() -> None:
    """A new /sys, as the one there is shows the links of the network in which it was mounted."""
    if not Path("/sys").is_mount():
        return
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        mounts.mount("sysfs", folder, "sysfs")
        for point in _mounted_on("/sys"):
            mounts.bind(Path("/sys", point), fresh / point)
        mounts.unmount(Path("/sys"))
        mounts.bind(fresh, Path("/sys"))
        mounts.unmount(fresh)


def _mounted_on(top: str) -> list[str]:
    """The outermost mounts below a folder, as paths in it."""
    rows = (line.split(" ")[1] for line in Path("/proc/mounts").read_text().splitlines())
    points = sorted({row.removeprefix(f"{top}/") for row in rows if row.startswith(f"{top}/")})
    return [one for one in points if not any(one.startswith(f"{other}/") for other in points)]


def crun_refuses() -> bool:
    """Whether this machine's control groups keep crun from running."""
    return bool(oci.leftover_controllers())


def leave_version2() -> None:
    """Unmount version 2 in this process' own mounts; nothing where version 1 is not beside it."""
    if BESIDE.is_mount():
        mounts.unmount(BESIDE)
    _look_anew()


@contextmanager
def without_version2() -> Generator[None]:
    """The same for a while."""
    if not BESIDE.is_mount():
        yield
        return
    leave_version2()
    try:
        yield
    finally:
        mounts.mount("cgroup2", str(BESIDE), "cgroup2")
        _look_anew()


def _look_anew() -> None:
    for known in (cgroups.layout, cgroups.hierarchies, cgroups.controllers):
        known.cache_clear()
