"""All that control groups count and limit beside the plain usage: what cAdvisor tells of a container.

Read when asked. A file that this kernel does not have counts as nothing used and nothing limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from cellagent.kernel import cgroup_limits, cgroups
from cellagent.kernel.cgroups import Layout
from hostkit.cgroup_files import number, table, text

PRESSURES = ("cpu", "memory", "io")


class DeviceIo(msgspec.Struct, frozen=True):
    """Bytes and operations of one block device; `device` as "major:minor"."""

    device: str
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


class HugePages(msgspec.Struct, frozen=True):
    """Huge pages of one size, as the kernel writes it ("2MB"), in bytes. `most_used` is None where it is not kept."""

    size: str
    used: int
    most_used: int | None = None


class Pressure(msgspec.Struct, frozen=True):
    """For how long tasks waited for a resource, nanoseconds: some of them, and all at once."""

    resource: str
    some_ns: int
    full_ns: int


class CgroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Nanoseconds, bytes and counts of one group and all below. A limit of 0 is none."""

    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    cpu_periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    cache_bytes: int = 0
    kernel_bytes: int = 0
    mapped_bytes: int = 0
    swap_bytes: int = 0
    most_memory_bytes: int = 0
    memory_limit_hits: int = 0
    memory_reservation: int = 0
    swap_limit: int = 0
    threads_max: int = 0
    devices: tuple[DeviceIo, ...] = ()
    huge_pages: tuple[HugePages, ...] = ()
    pressures: tuple[Pressure, ...] = ()


class Tasks(msgspec.Struct, frozen=True, kw_only=True):
    """Threads, files and sockets of the processes of a group."""

    threads: int = 0
    file_descriptors: int = 0
    sockets: int = 0


def figures(path: str) -> CgroupFigures:
    """The figures of the group with this path."""
    relative = path.strip("/")
    return _figures_v2(cgroups.ROOT / relative) if cgroups.layout() is Layout.V2 else _figures_v1(relative)


def tasks(path: str) -> Tasks:
    """Threads, open files and sockets of the processes in this group. Those that end meanwhile are left out."""
    threads = descriptors = sockets = 0
    for pid in cgroups.ControlGroup(path).pids():
        folder = Path(f"/proc/{pid}")
        try:
            threads += sum(1 for _ in (folder / "task").iterdir())
            for link in (folder / "fd").iterdir():
                descriptors += 1
                sockets += str(link.readlink()).startswith("socket:")
        except OSError:
            continue
    return Tasks(threads=threads, file_descriptors=descriptors, sockets=sockets)


def soft_limit_of_files(pid: int) -> int:
    """How many files a process may have open; 0 where it is gone, or for no limit."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    except OSError:
        return 0
    found = next((line for line in lines if line.startswith("Max open files")), "")
    word = found.removeprefix("Max open files").split()[:1]
    return int(word[0]) if word and word[0].isdigit() else 0


def io_of_v2(told: str) -> tuple[DeviceIo, ...]:
    """Devices from the text of io.stat."""
    found: list[DeviceIo] = []
    for line in told.splitlines():
        device, _, rest = line.partition(" ")
        counted = {key: int(value) for key, _, value in (word.partition("=") for word in rest.split())}
        if counted:
            found.append(
                DeviceIo(
                    device,
                    counted.get("rbytes", 0),
                    counted.get("wbytes", 0),
                    counted.get("rios", 0),
                    counted.get("wios", 0),
                )
            )
    return tuple(found)


def io_of_v1(size_text: str, count_text: str) -> tuple[DeviceIo, ...]:
    """Devices from the texts of blkio.throttle.io_service_bytes_recursive and blkio.throttle.io_serviced_recursive."""
    sizes, counts = _operations(size_text), _operations(count_text)
    return tuple(
        DeviceIo(
            device,
            sizes.get((device, "Read"), 0),
            sizes.get((device, "Write"), 0),
            counts.get((device, "Read"), 0),
            counts.get((device, "Write"), 0),
        )
        for device in dict.fromkeys(device for device, _ in (*sizes, *counts))
    )


def pressure_of(resource: str, told: str) -> Pressure | None:
    """One resource's pressure from the text of its file; None where the kernel does not count it."""
    totals: dict[str, int] = {}
    for line in told.splitlines():
        kind, _, rest = line.partition(" ")
        total = rest.rpartition("total=")[2]
        if total.isdigit():
            totals[kind] = int(total) * 1000
    return Pressure(resource, totals.get("some", 0), totals.get("full", 0)) if totals else None


def shares_of(weight: int) -> int:
    """Version 1's CPU shares for version 2's weight: the inverse of what OCI runtimes write."""
    return 2 + (weight - 1) * 262142 // 9999 if weight > 0 else 0


def _figures_v2(folder: Path) -> CgroupFigures:
    cpu, memory = table(folder / "cpu.stat"), table(folder / "memory.stat")
    quota, _, period = text(folder / "cpu.max").strip().partition(" ")
    told = (pressure_of(name, text(folder / f"{name}.pressure")) for name in PRESSURES)
    return CgroupFigures(
        cpu_user_ns=cpu.get("user_usec", 0) * 1000,
        cpu_system_ns=cpu.get("system_usec", 0) * 1000,
        cpu_periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled_ns=cpu.get("throttled_usec", 0) * 1000,
        cpu_shares=shares_of(number(folder / "cpu.weight")),
        cpu_quota_us=int(quota) if quota.isdigit() else 0,
        cpu_period_us=int(period) if period.isdigit() else 0,
        cache_bytes=memory.get("file", 0),
        kernel_bytes=memory.get("kernel", 0),
        mapped_bytes=memory.get("file_mapped", 0),
        swap_bytes=number(folder / "memory.swap.current"),
        most_memory_bytes=number(folder / "memory.peak"),
        memory_limit_hits=table(folder / "memory.events").get("max", 0),
        memory_reservation=number(folder / "memory.low"),
        swap_limit=number(folder / "memory.swap.max"),
        threads_max=number(folder / "pids.max"),
        devices=io_of_v2(text(folder / "io.stat")),
        huge_pages=tuple(_huge_pages(folder, "current", "")),
        pressures=tuple(one for one in told if one is not None),
    )


def _figures_v1(relative: str) -> CgroupFigures:
    cpu, acct = cgroups.ROOT / "cpu" / relative, cgroups.ROOT / "cpuacct" / relative
    memory, block = cgroups.ROOT / "memory" / relative, cgroups.ROOT / "blkio" / relative
    throttling, stat = table(cpu / "cpu.stat"), table(memory / "memory.stat")
    return CgroupFigures(
        cpu_user_ns=number(acct / "cpuacct.usage_user"),
        cpu_system_ns=number(acct / "cpuacct.usage_sys"),
        cpu_periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_ns=throttling.get("throttled_time", 0),
        cpu_shares=number(cpu / "cpu.shares"),
        cpu_quota_us=number(cpu / "cpu.cfs_quota_us"),
        cpu_period_us=number(cpu / "cpu.cfs_period_us"),
        cache_bytes=stat.get("total_cache", 0),
        kernel_bytes=number(memory / "memory.kmem.usage_in_bytes"),
        mapped_bytes=stat.get("total_mapped_file", 0),
        swap_bytes=stat.get("total_swap", 0),
        most_memory_bytes=number(memory / "memory.max_usage_in_bytes"),
        memory_limit_hits=number(memory / "memory.failcnt"),
        memory_reservation=_limited(number(memory / "memory.soft_limit_in_bytes")),
        # Version 1 limits memory and swap together; version 2, and who reads this, swap alone.
        swap_limit=max(
            _limited(number(memory / "memory.memsw.limit_in_bytes")) - number(memory / "memory.limit_in_bytes"), 0
        ),
        threads_max=number(cgroups.ROOT / "pids" / relative / "pids.max"),
        devices=io_of_v1(
            text(block / "blkio.throttle.io_service_bytes_recursive"),
            text(block / "blkio.throttle.io_serviced_recursive"),
        ),
        huge_pages=tuple(_huge_pages(cgroups.ROOT / "hugetlb" / relative, "usage_in_bytes", "max_usage_in_bytes")),
    )


def _huge_pages(folder: Path, used: str, most: str) -> Iterator[HugePages]:
    for path in sorted(folder.glob(f"hugetlb.*.{used}")):
        if ".rsvd." not in path.name:
            size = path.name.split(".")[1]
            yield HugePages(size, number(path), number(folder / f"hugetlb.{size}.{most}") if most else None)


def _operations(told: str) -> dict[tuple[str, str], int]:
    words = (line.split() for line in told.splitlines())
    return {(line[0], line[1]): int(line[2]) for line in words if len(line) == 3 and line[2].isdigit()}


def _limited(value: int) -> int:
    return value if value < cgroup_limits.NO_LIMIT else 0
