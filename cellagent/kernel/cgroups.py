"""Control groups of version 1, 2, and both side by side: the one place that names their files.

A group is one path that exists in every hierarchy in use. Where both versions are mounted, controllers of version 1
are used; a machine with pure version 2 uses that. Limits are written by `cgroup_limits.py`, which is pure.
"""

from __future__ import annotations

import enum
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from cellagent.kernel import cgroup_limits
from cellwire.faults import Fault, Kind
from hostkit import cgroup_files

ROOT = Path("/sys/fs/cgroup")
# What a pod's group needs, where the machine has it. "systemd" is version 1's hierarchy without a controller.
CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "cpuset", "blkio", "devices", "freezer", "hugetlb", "systemd")
# Without these a limit of a pod cannot be held.
NEEDED = frozenset(("cpu", "memory", "pids"))
# Beside version 1, where the OCI runtime makes a group of version 2 as well.
BESIDE = "unified"
KILL_SECONDS = 5.0
MOVES = 20


class Layout(enum.Enum):
    """Layout of a machine's control groups."""

    V1 = "v1"
    HYBRID = "hybrid"
    V2 = "v2"


class CgroupUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of a group: nanoseconds and bytes. `working_set_bytes` is cAdvisor's: usage without inactive file."""

    cpu_ns: int = 0
    memory_bytes: int = 0
    working_set_bytes: int = 0
    rss_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    pids: int = 0
    oom_kills: int = 0
    memory_limit: int = 0


@cache
def layout() -> Layout:
    """How this machine mounts control groups."""
    if (ROOT / "cgroup.controllers").exists():
        return Layout.V2
    return Layout.HYBRID if (ROOT / "unified" / "cgroup.controllers").exists() else Layout.V1


@cache
def hierarchies() -> dict[str, Path]:
    """Controller → where its hierarchy is mounted; "" for version 2."""
    if layout() is Layout.V2:
        return {"": ROOT}
    # Controllers mounted together are links to one folder: it is named once per controller, which does no harm.
    return {name: ROOT / name for name in (*CONTROLLERS, BESIDE) if (ROOT / name / "cgroup.procs").exists()}


@cache
def controllers() -> frozenset[str]:
    """The controllers that groups of ours can use."""
    if layout() is Layout.V2:
        return frozenset((ROOT / "cgroup.controllers").read_text().split())
    return frozenset(hierarchies()) - {"systemd", BESIDE}


def cpu_bound() -> float:
    """CPUs that the outermost group seen from here may use; a group below may not be given more. Infinite on version 2.

    Version 2 takes the smaller of the two by itself.
    """
    mounted = hierarchies().get("cpu")
    if mounted is None:
        return math.inf
    quota, period = (
        cgroup_files.number(mounted / "cpu.cfs_quota_us"),
        cgroup_files.number(mounted / "cpu.cfs_period_us"),
    )
    return quota / period if quota and period else math.inf


def own_parent(fallback: str = "/chinampa") -> str:
    """Where pods' groups go: beside our own group, where that is an instance's "init"; else `fallback`."""
    return parent_of(Path("/proc/self/cgroup").read_text(), fallback)


def parent_of(table: str, fallback: str) -> str:
    """Where pods' groups go, from the text of a process' table of groups. Pure."""
    for line in table.splitlines():
        _, controllers, path = line.split(":", 2)
        if (controllers == "" or "memory" in controllers.split(",")) and path.endswith("/init"):
            return path.removesuffix("init") + "pods"
    return "/" + fallback.strip("/")


def make_room() -> None:
    """Where the agent's processes sit in the top of what it sees of version 2, as in a container: move them to /init.

    Such a top can hand its controllers to pods only while it holds no process; the machine's real top always can.
    Raises Fault UNSUPPORTED where that is not allowed.
    """
    if layout() is not Layout.V2 or not (ROOT / "cgroup.type").exists():
        return
    leaf = ROOT / "init"
    for _ in range(MOVES):
        # One that is born while others are moved is found the next time.
        if not (here := (ROOT / "cgroup.procs").read_text().split()):
            return
        try:
            leaf.mkdir(exist_ok=True)
            for pid in here:
                with suppress(ProcessLookupError):
                    (leaf / "cgroup.procs").write_text(pid)
        except OSError as error:
            cause = f"processes {' '.join(here)} are in it and cannot leave: {os.strerror(error.errno or 0)}"
            mend = "mount control groups writable, in a control group namespace of the container's own"
            raise Fault(Kind.UNSUPPORTED, f"control group {ROOT}", cause, mend) from error
    raise Fault(Kind.UNSUPPORTED, f"control group {ROOT}", "new processes keep being put into it", "put them elsewhere")


class ControlGroup:
    """One group, in every hierarchy."""

    def __init__(self, path: str) -> None:
        self.path = "/" + path.strip("/")
        self._relative = self.path.lstrip("/")

    def create(self, wanted: Mapping[str, str] | None = None, *, inner: bool = False) -> None:
        """Make it, with its parents, which hand it their controllers. `wanted` as in `update`.

        An `inner` group hands them on to groups below it. On version 2 it can then hold no process of its own (EBUSY).
        """
        for controller, root in hierarchies().items():
            folder = root / self._relative
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Fault(Kind.BROKEN, f"control group {folder}", os.strerror(error.errno or 0)) from error
            line = [root / parent for parent in reversed(Path(self._relative).parents)] + [folder]
            if layout() is Layout.V2:
                for parent in line if inner else line[:-1]:
                    _delegate(parent)
                _check_delegated(folder)
            elif controller == "cpuset":
                for child in line[1:]:
                    cgroup_files.fill_cpuset(child)
        if wanted:
            self.update(wanted)

    def exists(self) -> bool:
        """Whether it is there in any hierarchy."""
        return any((root / self._relative).is_dir() for root in hierarchies().values())

    def add(self, pid: int) -> None:
        """Move a process into it. Raises Fault."""
        for root in hierarchies().values():
            _write(root / self._relative / "cgroup.procs", str(pid))

    def pids(self) -> list[int]:
        """Every process in it and below."""
        return sorted(cgroup_files.pids(self._tops()))

    def kill(self) -> None:
        """SIGKILL to all in it; frozen ones are thawed, as they would not die."""
        cgroup_files.kill(self._tops())

    def remove(self) -> None:
        """Remove it and what is below; blocks for a moment where a process is still ending. Gone is no error."""
        deadline = time.monotonic() + KILL_SECONDS
        while cgroup_files.remove(self._tops()):
            if time.monotonic() > deadline:
                raise Fault(Kind.PRECONDITION, f"control group {self.path}", "processes are still in it", "kill it")
            time.sleep(0.005)

    def update(self, wanted: Mapping[str, str]) -> None:
        """Write settings: file name → text, as `cgroup_limits.files` gives. Raises Fault naming the file and the cause.

        A file of a controller that this machine does not have is an error too: a limit is never silently lost.
        """
        for name, text in wanted.items():
            root = ROOT if layout() is Layout.V2 else hierarchies().get(name.partition(".")[0])
            if root is None:
                raise Fault(
                    Kind.UNSUPPORTED, f"{name}={text}", f"this machine has no controller {name.partition('.')[0]}"
                )
            _write(root / self._relative / name, text)

    def limit(self, wanted: cgroup_limits.CgroupLimits) -> None:
        """Write limits; memory and swap in the order that the kernel accepts."""
        version = 2 if layout() is Layout.V2 else 1
        self.update(cgroup_limits.files(wanted, version, current_memory=self.usage().memory_limit))

    def _tops(self) -> list[Path]:
        # A process may be in one hierarchy only, so all are asked; those mounted together are links to one folder.
        return [top / self._relative for top in dict.fromkeys(root.resolve() for root in hierarchies().values())]

    def usage(self) -> CgroupUsage:
        """The usage of the group. Zeros where it is gone."""
        return self._usage_v2() if layout() is Layout.V2 else self._usage_v1()

    def oom_kills(self) -> int:
        """How many processes the kernel has ended in it for want of memory."""
        if layout() is Layout.V2:
            return cgroup_files.table(ROOT / self._relative / "memory.events").get("oom_kill", 0)
        return cgroup_files.table(ROOT / "memory" / self._relative / "memory.oom_control").get("oom_kill", 0)

    def _usage_v2(self) -> CgroupUsage:
        folder = ROOT / self._relative
        cpu = cgroup_files.table(folder / "cpu.stat")
        memory = cgroup_files.table(folder / "memory.stat")
        used = cgroup_files.number(folder / "memory.current")
        return CgroupUsage(
            cpu_ns=cpu.get("usage_usec", 0) * 1000,
            memory_bytes=used,
            working_set_bytes=max(used - memory.get("inactive_file", 0), 0),
            rss_bytes=memory.get("anon", 0),
            page_faults=memory.get("pgfault", 0),
            major_page_faults=memory.get("pgmajfault", 0),
            pids=cgroup_files.number(folder / "pids.current"),
            oom_kills=self.oom_kills(),
            memory_limit=cgroup_files.number(folder / "memory.max"),
        )

    def _usage_v1(self) -> CgroupUsage:
        memory = cgroup_files.table(ROOT / "memory" / self._relative / "memory.stat")
        used = cgroup_files.number(ROOT / "memory" / self._relative / "memory.usage_in_bytes")
        limit = cgroup_files.number(ROOT / "memory" / self._relative / "memory.limit_in_bytes")
        return CgroupUsage(
            cpu_ns=cgroup_files.number(ROOT / "cpuacct" / self._relative / "cpuacct.usage"),
            memory_bytes=used,
            working_set_bytes=max(used - memory.get("total_inactive_file", 0), 0),
            rss_bytes=memory.get("total_rss", 0),
            page_faults=memory.get("total_pgfault", 0),
            major_page_faults=memory.get("total_pgmajfault", 0),
            pids=cgroup_files.number(ROOT / "pids" / self._relative / "pids.current"),
            oom_kills=self.oom_kills(),
            memory_limit=limit if limit < cgroup_limits.NO_LIMIT else 0,
        )


def _delegate(folder: Path) -> None:
    with suppress(OSError):
        for name in (folder / "cgroup.controllers").read_text().split():
            with suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(f"+{name}")


def _check_delegated(folder: Path) -> None:
    # One by one above, since a machine may refuse to hand on what nobody needs; these are in every pod's limits.
    present = (folder / "cgroup.controllers").read_text().split()
    if missing := sorted((NEEDED & controllers()) - set(present)):
        cause = f"the groups above it do not hand on {', '.join(missing)}: one of them may hold processes of its own"
        raise Fault(Kind.UNSUPPORTED, f"control group {folder}", cause, "delegate these controllers to the agent")


def _write(path: Path, text: str) -> None:
    try:
        cgroup_files.write(path, text)
    except OSError as error:
        kind = Kind.BROKEN if path.parent.exists() else Kind.NOT_FOUND
        raise Fault(kind, f"control group file {path}={text}", os.strerror(error.errno or 0)) from error
