"""Limits of a control group, and the files of version 1 or 2 that say them. Pure.

Sources: the kernel's cgroup-v1 and cgroup-v2 documentation; the OCI runtime specification for the conversions.
"""

from __future__ import annotations

import msgspec

from cellwire.cri.unlimited import NO_LIMIT, UNLIMITED

__all__ = ["NO_LIMIT", "UNLIMITED", "CgroupLimits", "files", "weight"]


class CgroupLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers as CRI says them; zero is "leave it", -1 is "none" (memory, swap, quota, pids).

    `memory_swap` is memory and swap together, as in version 1.
    """

    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    pids: int = 0
    unified: dict[str, str] = {}


def files(limits: CgroupLimits, version: int, *, current_memory: int = 0) -> dict[str, str]:
    """File name → text, in the order in which to write. `current_memory` is the limit now in force (0: none)."""
    return _version2(limits) if version == 2 else _version1(limits, current_memory)


def weight(shares: int) -> int:
    """Version 2's weight (1 … 10000) for version 1's shares (2 … 262144)."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def _version1(limits: CgroupLimits, current: int) -> dict[str, str]:
    found: dict[str, str] = {}
    if limits.cpu_shares:
        found["cpu.shares"] = str(max(limits.cpu_shares, 2))
    if limits.cpu_period_us:
        found["cpu.cfs_period_us"] = str(limits.cpu_period_us)
    if limits.cpu_quota_us:
        found["cpu.cfs_quota_us"] = str(limits.cpu_quota_us)
    if limits.cpuset_cpus:
        found["cpuset.cpus"] = limits.cpuset_cpus
    if limits.cpuset_mems:
        found["cpuset.mems"] = limits.cpuset_mems
    memory = {"memory.limit_in_bytes": str(limits.memory_bytes)} if limits.memory_bytes else {}
    swap = {"memory.memsw.limit_in_bytes": str(limits.memory_swap_bytes)} if limits.memory_swap_bytes else {}
    # Memory may never exceed memory with swap: who grows must raise the latter first.
    grows = limits.memory_bytes == UNLIMITED or (0 < current < limits.memory_bytes)
    found |= {**swap, **memory} if grows else {**memory, **swap}
    if limits.pids:
        found["pids.max"] = _or_max(limits.pids)
    return found


def _version2(limits: CgroupLimits) -> dict[str, str]:
    found: dict[str, str] = {}
    if limits.cpu_shares:
        found["cpu.weight"] = str(weight(limits.cpu_shares))
    if limits.cpu_quota_us:
        found["cpu.max"] = f"{_or_max(limits.cpu_quota_us)} {limits.cpu_period_us or 100_000}"
    if limits.cpuset_cpus:
        found["cpuset.cpus"] = limits.cpuset_cpus
    if limits.cpuset_mems:
        found["cpuset.mems"] = limits.cpuset_mems
    if limits.memory_bytes:
        found["memory.max"] = _or_max(limits.memory_bytes)
    if limits.memory_swap_bytes:
        both = limits.memory_swap_bytes
        found["memory.swap.max"] = "max" if both < 0 else str(max(both - max(limits.memory_bytes, 0), 0))
    if limits.pids:
        found["pids.max"] = _or_max(limits.pids)
    return found | limits.unified


def _or_max(number: int) -> str:
    return "max" if number < 0 else str(number)
