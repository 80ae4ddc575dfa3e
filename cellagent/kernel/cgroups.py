"""Control groups of version 1, 2, and both side by side: the one place that names their files.

A group is one path that exists in every hierarchy in use. Where both versions are mounted, controllers of version 1
are used; a machine with pure version 2 uses that.
"""

from __future__ import annotations

import enum
import os
import signal
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

ROOT = Path("/sys/fs/cgroup")
# What a pod's group needs, where the machine has it.
CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "cpuset", "blkio", "devices", "freezer", "hugetlb", "systemd")
KILL_SECONDS = 5.0


class Layout(enum.Enum):
    """How this machine mounts control groups."""

    V1 = "v1"
    HYBRID = "hybrid"
    V2 = "v2"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a group has used: nanoseconds and bytes. `working_set_bytes` is cAdvisor's: usage without inactive file."""

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
    return Layout.HYBRID if (ROOT / "unified").exists() else Layout.V1


@cache
def hierarchies() -> dict[str, Path]:
    """Controller → where its hierarchy is mounted; "" for version 2."""
    if layout() is Layout.V2:
        return {"": ROOT}
    return {name: ROOT / name for name in CONTROLLERS if (ROOT / name).is_dir()}


def own_parent(fallback: str = "/chinampa") -> str:
    """Where pods' groups go: beside our own group, where that is an instance's "init"; else `fallback`."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (controllers == "" or "memory" in controllers.split(",")) and path.endswith("/init"):
            return path.removesuffix("init") + "pods"
    return fallback


class Group:
    """One group, in every hierarchy."""

    def __init__(self, path: str) -> None:
        self.path = "/" + path.strip("/")

    def create(self) -> None:
        """Make it, and in version 2 let its children have the controllers."""
        for root in hierarchies().values():
            folder = root / self.path.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            if layout() is Layout.V2:
                for parent in [*reversed(folder.relative_to(root).parents), folder.relative_to(root)]:
                    _delegate(root / parent)

    def pids(self) -> list[int]:
        """Every process in it and below."""
        found: set[int] = set()
        for root in hierarchies().values():
            for tasks in (root / self.path.lstrip("/")).rglob("cgroup.procs"):
                with suppress(OSError):
                    found.update(int(pid) for pid in tasks.read_text().split())
            if found:
                break
        return sorted(found)

    def kill(self) -> None:
        """SIGKILL to all in it."""
        knob = ROOT / self.path.lstrip("/") / "cgroup.kill"
        if layout() is Layout.V2 and knob.exists():
            with suppress(OSError):
                knob.write_text("1")
            return
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Remove it and what is below; blocks for a moment where a process is still ending."""
        deadline = time.monotonic() + KILL_SECONDS
        for root in hierarchies().values():
            top = root / self.path.lstrip("/")
            while top.exists() and time.monotonic() < deadline:
                for folder in [*sorted((f for f in top.rglob("*") if f.is_dir()), reverse=True), top]:
                    with suppress(OSError):
                        folder.rmdir()
                if top.exists():
                    time.sleep(0.005)

    def usage(self) -> Usage:
        """What it has used. Zeros where it is gone."""
        return self._usage_v2() if layout() is Layout.V2 else self._usage_v1()

    def _usage_v2(self) -> Usage:
        folder = ROOT / self.path.lstrip("/")
        cpu = _table(folder / "cpu.stat")
        memory = _table(folder / "memory.stat")
        used = _number(folder / "memory.current")
        return Usage(
            cpu_ns=cpu.get("usage_usec", 0) * 1000,
            memory_bytes=used,
            working_set_bytes=max(used - memory.get("inactive_file", 0), 0),
            rss_bytes=memory.get("anon", 0),
            page_faults=memory.get("pgfault", 0),
            major_page_faults=memory.get("pgmajfault", 0),
            pids=_number(folder / "pids.current"),
            oom_kills=_table(folder / "memory.events").get("oom_kill", 0),
            memory_limit=_number(folder / "memory.max"),
        )

    def _usage_v1(self) -> Usage:
        path = self.path.lstrip("/")
        memory = _table(ROOT / "memory" / path / "memory.stat")
        used = _number(ROOT / "memory" / path / "memory.usage_in_bytes")
        limit = _number(ROOT / "memory" / path / "memory.limit_in_bytes")
        return Usage(
            cpu_ns=_number(ROOT / "cpuacct" / path / "cpuacct.usage"),
            memory_bytes=used,
            working_set_bytes=max(used - memory.get("total_inactive_file", 0), 0),
            rss_bytes=memory.get("total_rss", 0),
            page_faults=memory.get("total_pgfault", 0),
            major_page_faults=memory.get("total_pgmajfault", 0),
            pids=_number(ROOT / "pids" / path / "pids.current"),
            oom_kills=_table(ROOT / "memory" / path / "memory.oom_control").get("oom_kill", 0),
            memory_limit=limit if limit < 1 << 60 else 0,
        )


def _delegate(folder: Path) -> None:
    with suppress(OSError):
        for name in (folder / "cgroup.controllers").read_text().split():
            with suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(f"+{name}")


def _table(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {key: int(number) for key, _, number in (line.partition(" ") for line in lines) if number.isdigit()}


def _number(path: Path) -> int:
    try:
        text = path.read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
