"""Limits of a whole pod, changed while it runs: held by the pod's own control group, above those of its containers.

A group that the caller has named is the caller's: a kubelet has written its limits before it tells us, and they are
only remembered. What a sandbox was made with is no such limit: it sums up the containers that have one.
"""

from __future__ import annotations

import msgspec

from cellagent.kernel import cgroup_limits, cgroups
from cellagent.runtime.ledger import Phase, SandboxEntry
from cellagent.runtime.machine import Machine
from cellagent.runtime.resources import require_machine
from cellagent.runtime.spec.cgroup import enforceable
from cellwire.cri.unlimited import NO_LIMIT, settled
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

PERIOD_US = 100_000
MIB = 1 << 20


async def update(machine: Machine, request: cri.UpdatePodSandboxResourcesRequest) -> None:
    """Hold the pod to what is given, with its overhead, and keep the rest. Raises Fault where that cannot be."""
    record = machine.ledger.sandbox(request.pod_sandbox_id)
    thing = f"limits of pod {record.parsed().metadata.name}"
    if record.phase is not Phase.READY:
        raise Fault(Kind.PRECONDITION, thing, f"its sandbox {record.id[:13]} is not ready", "run the pod anew")
    asked = settled(request.resources)
    wanted = with_overhead(asked, settled(request.overhead))
    require_machine(thing, wanted)
    v2 = cgroups.layout() is cgroups.Layout.V2
    enforceable(thing, wanted, cgroups.controllers(), v2=v2, cpu_bound=cgroups.cpu_bound())
    if not record.parsed().linux.cgroup_parent:
        _hold(thing, record, wanted, v2=v2)
    machine.ledger.put_sandbox(
        msgspec.structs.replace(
            machine.ledger.sandbox(record.id),
            resources=asked.SerializeToString(),
            overhead=request.overhead.SerializeToString(),
        )
    )


def with_overhead(
    asked: cri.LinuxContainerResources, overhead: cri.LinuxContainerResources
) -> cri.LinuxContainerResources:
    """What the pod's group shall hold: each limit that is given, and what the sandbox itself needs beside it. Pure."""
    wanted = cri.LinuxContainerResources()
    wanted.CopyFrom(asked)
    if asked.cpu_quota > 0:
        wanted.cpu_period = asked.cpu_period or PERIOD_US
        if overhead.cpu_quota > 0:
            more = overhead.cpu_quota * wanted.cpu_period // (overhead.cpu_period or PERIOD_US)
            wanted.cpu_quota = min(wanted.cpu_quota + more, NO_LIMIT)
    if asked.cpu_shares > 0:
        wanted.cpu_shares += max(overhead.cpu_shares, 0)
    if asked.memory_limit_in_bytes > 0:
        wanted.memory_limit_in_bytes += max(overhead.memory_limit_in_bytes, 0)
    return wanted


def group_limits(wanted: cri.LinuxContainerResources) -> cgroup_limits.CgroupLimits:
    """CRI's words as a group's; zero means "not said" in both. Pure."""
    return cgroup_limits.CgroupLimits(
        cpu_shares=wanted.cpu_shares,
        cpu_quota_us=wanted.cpu_quota,
        cpu_period_us=wanted.cpu_period,
        cpuset_cpus=wanted.cpuset_cpus,
        cpuset_mems=wanted.cpuset_mems,
        memory_bytes=wanted.memory_limit_in_bytes,
        memory_swap_bytes=wanted.memory_swap_limit_in_bytes,
        unified=dict(wanted.unified),
    )


def huge_pages(wanted: cri.LinuxContainerResources, *, v2: bool) -> dict[str, str]:
    """The files that limit huge pages, of the sizes that are given. Pure."""
    end = "max" if v2 else "limit_in_bytes"
    return {f"hugetlb.{one.page_size}.{end}": str(one.limit) for one in wanted.hugepage_limits if one.limit}


def _hold(thing: str, record: SandboxEntry, wanted: cri.LinuxContainerResources, *, v2: bool) -> None:
    group = cgroups.ControlGroup(record.cgroup)
    held = group.usage().rss_bytes
    if 0 < wanted.memory_limit_in_bytes < held:
        # Version 1 would refuse it by itself; version 2 takes the limit and then kills until what is left fits.
        cause = f"the pod holds {held // MIB} MiB and a limit of {wanted.memory_limit_in_bytes // MIB} MiB is wanted"
        raise Fault(Kind.PRECONDITION, thing, cause, "let its containers use less first, or start it anew")
    try:
        group.limit(group_limits(wanted))
        if "hugetlb" in cgroups.controllers():
            group.update(huge_pages(wanted, v2=v2))
    except Fault as fault:
        # Version 1 holds a group's CPU time to that of the group above.
        cause = f"the kernel refused {fault.thing.rpartition('/')[2]} ({fault.cause})"
        raise Fault(Kind.PRECONDITION, thing, cause, "lower the limits of the pod's containers first") from fault
