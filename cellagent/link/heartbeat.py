"""The heartbeat of a cell: once as hello, then at each heartbeat. A few small files of the kernel's, no more."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from cellwire.cell.v1 import cell_pb2 as wire
from hostkit import pids
from hostkit.cgroup_files import number, table, text

PROC = Path("/proc")
# In a cell that is a group of a machine these are the group's, by its cgroup namespace; else they are the machine's.
GROUPS = Path("/sys/fs/cgroup")
ENDLESS = 1 << 60
# Whatever a controller asks for: a heartbeat is to cost the pod nothing, and to be heard within minutes.
SHORTEST, LONGEST = 0.05, 120.0


def hello(
    cell: str, version: str, moments: Mapping[str, float], oci_runtime: str, size: tuple[int, int] | None = None
) -> wire.Hello:
    """The first message. `size` is thousandths of a CPU and MiB, where it is known better than the kernel says."""
    cpu_millis, memory_mib = size or (cpu_size(), memory_size() >> 20)
    return wire.Hello(
        cell=cell,
        agent_version=version,
        boot_id=boot_id(),
        cpu_millis=cpu_millis,
        memory_mib=memory_mib,
        moments=moments,
        oci_runtime=oci_runtime,
    )


def heartbeat(running_containers: int) -> wire.Heartbeat:
    """The numbers of now."""
    return wire.Heartbeat(
        at=time.time(),
        agent_memory_bytes=agent_memory(),
        memory_used_bytes=memory_used(),
        cpu_used_ns=cpu_used(),
        running_containers=running_containers,
    )


class Interval:
    """Seconds between the heartbeats of one report: at first what the cell's settings say, then what it is told."""

    def __init__(self, seconds: float) -> None:
        self._usual = seconds
        self.seconds = seconds

    def heed(self, request: wire.ReportRequest) -> None:
        """Keep to what the controller asks for, within bounds."""
        asked = request.heartbeat_interval_ms / 1000
        self.seconds = min(max(asked, SHORTEST), LONGEST) if asked else self._usual


async def beats(
    interval: Interval, running_containers: Callable[[], int], events: asyncio.Queue[wire.CellEvent]
) -> AsyncIterator[wire.ReportMessage]:
    """Heartbeats at each interval, and events as they come, for one report."""
    due = asyncio.get_running_loop().time()
    while True:
        try:
            async with asyncio.timeout_at(due):
                event = await events.get()
        except TimeoutError:
            yield wire.ReportMessage(heartbeat=heartbeat(running_containers()))
            due = max(due + interval.seconds, asyncio.get_running_loop().time())
        else:
            yield wire.ReportMessage(event=event)


def boot_id() -> str:
    """The kernel's boot id and the first process's start: the second tells instances of one machine apart."""
    return f"{pids.boot_id()}/{pids.started(1)}"


def cpu_size() -> int:
    """Thousandths of a CPU that the cell may use."""
    machine = 1000 * len(os.sched_getaffinity(0))
    quota, _, period = text(GROUPS / "cpu.max").strip().partition(" ")
    if not period:
        quota, period = text(GROUPS / "cpu/cpu.cfs_quota_us").strip(), text(GROUPS / "cpu/cpu.cfs_period_us").strip()
    if quota.isdecimal() and period.isdecimal() and int(period):
        return min(machine, 1000 * int(quota) // int(period))
    return machine


def memory_size() -> int:
    """Bytes of memory that the cell may use."""
    machine = _meminfo().get("MemTotal", 0)
    limit = number(GROUPS / "memory.max") or number(GROUPS / "memory/memory.limit_in_bytes") or ENDLESS
    return min(machine, limit)


def memory_used() -> int:
    """Bytes in use that cannot be had for the asking: file pages that nobody touched of late are left out."""
    for used, stat, name in (
        (GROUPS / "memory.current", GROUPS / "memory.stat", "inactive_file"),
        (GROUPS / "memory/memory.usage_in_bytes", GROUPS / "memory/memory.stat", "total_inactive_file"),
    ):
        if taken := number(used):
            return max(taken - table(stat).get(name, 0), 0)
    known = _meminfo()
    return max(known.get("MemTotal", 0) - known.get("MemAvailable", 0), 0)


def cpu_used() -> int:
    """CPU time used by the cell since boot, ns."""
    if used := number(GROUPS / "cpuacct/cpuacct.usage"):
        return used
    if microseconds := table(GROUPS / "cpu.stat").get("usage_usec"):
        return microseconds * 1000
    line = text(PROC / "stat").partition("\n")[0].split()
    if len(line) < 9:
        return 0
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, line[1:9])
    return (user + nice + system + irq + softirq + steal) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def agent_memory() -> int:
    """Resident bytes of this process."""
    fields = text(PROC / "self/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


def _meminfo() -> dict[str, int]:
    known: dict[str, int] = {}
    for line in text(PROC / "meminfo").splitlines()[:5]:
        name, _, value = line.partition(":")
        known[name] = int(value.split()[0]) << 10
    return known
