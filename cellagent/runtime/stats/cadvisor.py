"""Pod metrics under cAdvisor's names, for a kubelet that asks its runtime instead of looking itself.

One table: a metric's name, kind, and how it is read from a container's facts; what they mean and their labels are in
`cellwire.cri.cadvisor_metrics`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from cellagent.kernel import accounting, cgroups
from cellagent.runtime.ledger import ContainerEntry, Phase, SandboxEntry
from cellagent.runtime.machine import Machine
from cellagent.runtime.stats import summary
from cellwire.cri.v1 import runtime_pb2 as cri

SECOND = 1_000_000_000
COUNTER, GAUGE = cri.COUNTER, cri.GAUGE


class ContainerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one container. Disk figures in bytes and inodes; `device` is where its layers are."""

    usage: cgroups.CgroupUsage
    figures: accounting.CgroupFigures
    tasks: accounting.Tasks
    started_at: int
    seen_at: int
    open_files: int = 0
    device: str = ""
    disk_used: int = 0
    disk_size: int = 0
    inodes: int = 0
    inodes_free: int = 0


Sample = tuple[tuple[str, ...], int]
"""Values of the metric's own labels, and its value."""


class Described(msgspec.Struct, frozen=True):
    """One metric of containers."""

    name: str
    kind: cri.MetricType.ValueType
    read: Callable[[ContainerFacts], Iterable[Sample]]


class DescribedInterface(msgspec.Struct, frozen=True):
    """One metric of a pod's network interfaces."""

    name: str
    read: Callable[[summary.InterfaceStats], int]


def _one(read: Callable[[ContainerFacts], int]) -> Callable[[ContainerFacts], Iterable[Sample]]:
    return lambda facts: [((), read(facts))]


def _faults(facts: ContainerFacts) -> Iterator[Sample]:
    yield ("pgfault", "container"), facts.usage.page_faults
    yield ("pgmajfault", "container"), facts.usage.major_page_faults


def _devices(read: Callable[[accounting.DeviceIo], int]) -> Callable[[ContainerFacts], Iterable[Sample]]:
    return lambda facts: [((one.device,), read(one)) for one in facts.figures.devices]


def _block_io(facts: ContainerFacts) -> Iterator[Sample]:
    for one in facts.figures.devices:
        major, _, minor = one.device.partition(":")
        yield (one.device, major, minor, "Read"), one.read_bytes
        yield (one.device, major, minor, "Write"), one.written_bytes


def _disk(read: Callable[[ContainerFacts], int]) -> Callable[[ContainerFacts], Iterable[Sample]]:
    return lambda facts: [((facts.device,), read(facts))]


def _pressure(
    resource: str, read: Callable[[accounting.Pressure], int]
) -> Callable[[ContainerFacts], Iterable[Sample]]:
    return lambda facts: [((), read(one) // SECOND) for one in facts.figures.pressures if one.resource == resource]


def _most_huge(facts: ContainerFacts) -> Iterator[Sample]:
    for one in facts.figures.huge_pages:
        if one.most_used is not None:
            yield (one.size,), one.most_used


CPU = (
    Described("container_cpu_usage_seconds_total", COUNTER, _one(lambda f: f.usage.cpu_ns // SECOND)),
    Described("container_cpu_user_seconds_total", COUNTER, _one(lambda f: f.figures.cpu_user_ns // SECOND)),
    Described("container_cpu_system_seconds_total", COUNTER, _one(lambda f: f.figures.cpu_system_ns // SECOND)),
    Described("container_cpu_cfs_periods_total", COUNTER, _one(lambda f: f.figures.cpu_periods)),
    Described("container_cpu_cfs_throttled_periods_total", COUNTER, _one(lambda f: f.figures.throttled_periods)),
    Described("container_cpu_cfs_throttled_seconds_total", COUNTER, _one(lambda f: f.figures.throttled_ns // SECOND)),
)
MEMORY = (
    Described("container_memory_usage_bytes", GAUGE, _one(lambda f: f.usage.memory_bytes)),
    Described("container_memory_working_set_bytes", GAUGE, _one(lambda f: f.usage.working_set_bytes)),
    Described("container_memory_rss", GAUGE, _one(lambda f: f.usage.rss_bytes)),
    Described("container_memory_cache", GAUGE, _one(lambda f: f.figures.cache_bytes)),
    Described("container_memory_mapped_file", GAUGE, _one(lambda f: f.figures.mapped_bytes)),
    Described("container_memory_kernel_usage", GAUGE, _one(lambda f: f.figures.kernel_bytes)),
    Described("container_memory_swap", GAUGE, _one(lambda f: f.figures.swap_bytes)),
    Described("container_memory_max_usage_bytes", GAUGE, _one(lambda f: f.figures.most_memory_bytes)),
    Described("container_memory_failcnt", COUNTER, _one(lambda f: f.figures.memory_limit_hits)),
    Described("container_memory_failures_total", COUNTER, _faults),
    Described("container_oom_events_total", COUNTER, _one(lambda f: f.usage.oom_kills)),
    Described(
        "container_hugetlb_usage_bytes", GAUGE, lambda f: [((one.size,), one.used) for one in f.figures.huge_pages]
    ),
    Described("container_hugetlb_max_usage_bytes", GAUGE, _most_huge),
)
DISK = (
    Described("container_fs_usage_bytes", GAUGE, _disk(lambda f: f.disk_used)),
    Described("container_fs_limit_bytes", GAUGE, _disk(lambda f: f.disk_size)),
    Described("container_fs_inodes_total", GAUGE, _disk(lambda f: f.inodes)),
    Described("container_fs_inodes_free", GAUGE, _disk(lambda f: f.inodes_free)),
    Described("container_fs_reads_bytes_total", COUNTER, _devices(lambda one: one.read_bytes)),
    Described("container_fs_reads_total", COUNTER, _devices(lambda one: one.reads)),
    Described("container_fs_writes_bytes_total", COUNTER, _devices(lambda one: one.written_bytes)),
    Described("container_fs_writes_total", COUNTER, _devices(lambda one: one.writes)),
    Described("container_blkio_device_usage_total", COUNTER, _block_io),
)
TASKS = (
    Described("container_processes", GAUGE, _one(lambda f: f.usage.pids)),
    Described("container_threads", GAUGE, _one(lambda f: f.tasks.threads)),
    Described("container_threads_max", GAUGE, _one(lambda f: f.figures.threads_max)),
    Described("container_file_descriptors", GAUGE, _one(lambda f: f.tasks.file_descriptors)),
    Described("container_sockets", GAUGE, _one(lambda f: f.tasks.sockets)),
    Described("container_ulimits_soft", GAUGE, lambda f: [(("max_open_files",), f.open_files)] if f.open_files else []),
)
SPEC = (
    Described("container_spec_cpu_period", GAUGE, _one(lambda f: f.figures.cpu_period_us)),
    Described(
        "container_spec_cpu_quota", GAUGE, lambda f: [((), f.figures.cpu_quota_us)] if f.figures.cpu_quota_us else []
    ),
    Described("container_spec_cpu_shares", GAUGE, _one(lambda f: f.figures.cpu_shares)),
    Described("container_spec_memory_limit_bytes", GAUGE, _one(lambda f: f.usage.memory_limit)),
    Described("container_spec_memory_reservation_limit_bytes", GAUGE, _one(lambda f: f.figures.memory_reservation)),
    Described("container_spec_memory_swap_limit_bytes", GAUGE, _one(lambda f: f.figures.swap_limit)),
    Described("container_start_time_seconds", GAUGE, _one(lambda f: f.started_at // SECOND)),
    Described("container_last_seen", GAUGE, _one(lambda f: f.seen_at // SECOND)),
)
PRESSURE = tuple(
    Described(f"container_pressure_{resource}_{word}_seconds_total", COUNTER, _pressure(resource, read))
    for resource in accounting.PRESSURES
    for word, read in (("waiting", lambda one: one.some_ns), ("stalled", lambda one: one.full_ns))
)
CONTAINER: tuple[Described, ...] = (*CPU, *MEMORY, *DISK, *TASKS, *SPEC, *PRESSURE)
# What is told of a pod as a whole: the sum of its containers.
POD = (CPU[0], *MEMORY[:3])
NETWORK = (
    DescribedInterface("container_network_receive_bytes_total", lambda one: one.rx_bytes),
    DescribedInterface("container_network_receive_packets_total", lambda one: one.rx_packets),
    DescribedInterface("container_network_receive_errors_total", lambda one: one.rx_errors),
    DescribedInterface("container_network_receive_packets_dropped_total", lambda one: one.rx_dropped),
    DescribedInterface("container_network_transmit_bytes_total", lambda one: one.tx_bytes),
    DescribedInterface("container_network_transmit_packets_total", lambda one: one.tx_packets),
    DescribedInterface("container_network_transmit_errors_total", lambda one: one.tx_errors),
    DescribedInterface("container_network_transmit_packets_dropped_total", lambda one: one.tx_dropped),
)


def sandboxes(machine: Machine, disk: summary.SandboxStats) -> list[cri.PodSandboxMetrics]:
    """Metrics of every standing sandbox and its running containers. Reads a few dozen files for each."""
    return [_sandbox(machine, disk, one) for one in machine.ledger.sandboxes() if one.phase is Phase.READY]


def _sandbox(machine: Machine, disk: summary.SandboxStats, record: SandboxEntry) -> cri.PodSandboxMetrics:
    now, meta = time.time_ns(), record.parsed().metadata
    running = [one for one in machine.ledger.containers(record.id) if one.phase is Phase.RUNNING]
    labels = (record.cgroup, record.id, "", "", meta.name, meta.namespace)
    facts = [_facts(machine, disk, one, now) for one in running]
    whole = ContainerFacts(
        usage=summary.total([one.usage for one in facts]),
        figures=accounting.CgroupFigures(),
        tasks=accounting.Tasks(),
        started_at=record.created_at,
        seen_at=now,
    )
    found = [
        _metric(one.name, COUNTER, (*labels, interface.name), one.read(interface), now)
        for interface in summary.interfaces(running)
        for one in NETWORK
    ]
    found += [_metric(one.name, one.kind, (*labels, *own), value, now) for one in POD for own, value in one.read(whole)]
    told = [_container(one, known, meta, now) for one, known in zip(running, facts, strict=True)]
    return cri.PodSandboxMetrics(pod_sandbox_id=record.id, metrics=found, container_metrics=told)


def _facts(machine: Machine, disk: summary.SandboxStats, record: ContainerEntry, now: int) -> ContainerFacts:
    used, _ = disk.layer(record)
    room = os.statvfs(machine.settings.root)
    return ContainerFacts(
        usage=cgroups.ControlGroup(record.cgroup).usage(),
        figures=accounting.figures(record.cgroup),
        tasks=accounting.tasks(record.cgroup),
        started_at=record.started_at,
        seen_at=now,
        open_files=accounting.soft_limit_of_files(record.pid),
        device=_device(machine.settings.root),
        disk_used=used,
        disk_size=room.f_blocks * room.f_frsize,
        inodes=room.f_files,
        inodes_free=room.f_ffree,
    )


def _container(
    record: ContainerEntry, facts: ContainerFacts, pod: cri.PodSandboxMetadata, now: int
) -> cri.ContainerMetrics:
    config = record.parsed()
    labels = (record.cgroup, record.id, config.image.image, config.metadata.name, pod.name, pod.namespace)
    found = [
        _metric(one.name, one.kind, (*labels, *own), value, now) for one in CONTAINER for own, value in one.read(facts)
    ]
    return cri.ContainerMetrics(container_id=record.id, metrics=found)


def _device(path: Path) -> str:
    number = path.stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def _metric(name: str, kind: cri.MetricType.ValueType, labels: Sequence[str], value: int, now: int) -> cri.Metric:
    told = cri.UInt64Value(value=max(value, 0))
    return cri.Metric(name=name, timestamp=now, metric_type=kind, label_values=labels, value=told)
