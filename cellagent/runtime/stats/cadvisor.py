"""Pod metrics under cAdvisor's names, for a kubelet that asks its runtime instead of looking itself.

One table: a metric's name, words, kind, labels beside the usual ones, and how it is read from a container's facts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from cellagent.kernel import accounting, cgroups
from cellagent.runtime.ledger import ContainerRecord, Phase, SandboxRecord
from cellagent.runtime.machine import Machine
from cellagent.runtime.stats import summary
from cellwire.cri.v1 import runtime_pb2 as cri

LABELS = ("id", "name", "image", "container", "pod", "namespace")
SECOND = 1_000_000_000
COUNTER, GAUGE = cri.COUNTER, cri.GAUGE


class ContainerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is told of one container. Disk figures in bytes and inodes; `device` is where its layers are."""

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
    help: str
    kind: cri.MetricType.ValueType
    read: Callable[[ContainerFacts], Iterable[Sample]]
    labels: tuple[str, ...] = ()


class DescribedInterface(msgspec.Struct, frozen=True):
    """One metric of a pod's network interfaces."""

    name: str
    help: str
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
    Described(
        "container_cpu_usage_seconds_total", "CPU time, seconds.", COUNTER, _one(lambda f: f.usage.cpu_ns // SECOND)
    ),
    Described(
        "container_cpu_user_seconds_total",
        "CPU time in user mode, seconds.",
        COUNTER,
        _one(lambda f: f.figures.cpu_user_ns // SECOND),
    ),
    Described(
        "container_cpu_system_seconds_total",
        "CPU time in the kernel, seconds.",
        COUNTER,
        _one(lambda f: f.figures.cpu_system_ns // SECOND),
    ),
    Described(
        "container_cpu_cfs_periods_total", "Periods of the quota.", COUNTER, _one(lambda f: f.figures.cpu_periods)
    ),
    Described(
        "container_cpu_cfs_throttled_periods_total",
        "Periods in which the quota was used up.",
        COUNTER,
        _one(lambda f: f.figures.throttled_periods),
    ),
    Described(
        "container_cpu_cfs_throttled_seconds_total",
        "Time held back by the quota, seconds.",
        COUNTER,
        _one(lambda f: f.figures.throttled_ns // SECOND),
    ),
)
MEMORY = (
    Described(
        "container_memory_usage_bytes",
        "Memory used, bytes, caches included.",
        GAUGE,
        _one(lambda f: f.usage.memory_bytes),
    ),
    Described(
        "container_memory_working_set_bytes",
        "Memory in active use, bytes.",
        GAUGE,
        _one(lambda f: f.usage.working_set_bytes),
    ),
    Described("container_memory_rss", "Anonymous memory, bytes.", GAUGE, _one(lambda f: f.usage.rss_bytes)),
    Described("container_memory_cache", "Page cache, bytes.", GAUGE, _one(lambda f: f.figures.cache_bytes)),
    Described("container_memory_mapped_file", "Mapped files, bytes.", GAUGE, _one(lambda f: f.figures.mapped_bytes)),
    Described("container_memory_kernel_usage", "Kernel memory, bytes.", GAUGE, _one(lambda f: f.figures.kernel_bytes)),
    Described("container_memory_swap", "Swap used, bytes.", GAUGE, _one(lambda f: f.figures.swap_bytes)),
    Described(
        "container_memory_max_usage_bytes",
        "Highest use so far, bytes.",
        GAUGE,
        _one(lambda f: f.figures.most_memory_bytes),
    ),
    Described(
        "container_memory_failcnt",
        "How often the limit was hit.",
        COUNTER,
        _one(lambda f: f.figures.memory_limit_hits),
    ),
    Described("container_memory_failures_total", "Page faults.", COUNTER, _faults, ("failure_type", "scope")),
    Described(
        "container_oom_events_total",
        "Processes killed for want of memory.",
        COUNTER,
        _one(lambda f: f.usage.oom_kills),
    ),
    Described(
        "container_hugetlb_usage_bytes",
        "Huge pages used, bytes.",
        GAUGE,
        lambda f: [((one.size,), one.used) for one in f.figures.huge_pages],
        ("pagesize",),
    ),
    Described(
        "container_hugetlb_max_usage_bytes", "Highest use of huge pages, bytes.", GAUGE, _most_huge, ("pagesize",)
    ),
)
DISK = (
    Described(
        "container_fs_usage_bytes", "The writable layer, bytes.", GAUGE, _disk(lambda f: f.disk_used), ("device",)
    ),
    Described(
        "container_fs_limit_bytes", "Size of its filesystem, bytes.", GAUGE, _disk(lambda f: f.disk_size), ("device",)
    ),
    Described("container_fs_inodes_total", "Inodes of its filesystem.", GAUGE, _disk(lambda f: f.inodes), ("device",)),
    Described("container_fs_inodes_free", "Inodes free there.", GAUGE, _disk(lambda f: f.inodes_free), ("device",)),
    Described(
        "container_fs_reads_bytes_total", "Bytes read.", COUNTER, _devices(lambda one: one.read_bytes), ("device",)
    ),
    Described("container_fs_reads_total", "Reads.", COUNTER, _devices(lambda one: one.reads), ("device",)),
    Described(
        "container_fs_writes_bytes_total",
        "Bytes written.",
        COUNTER,
        _devices(lambda one: one.written_bytes),
        ("device",),
    ),
    Described("container_fs_writes_total", "Writes.", COUNTER, _devices(lambda one: one.writes), ("device",)),
    Described(
        "container_blkio_device_usage_total",
        "Bytes by block device.",
        COUNTER,
        _block_io,
        ("device", "major", "minor", "operation"),
    ),
)
TASKS = (
    Described("container_processes", "Processes inside.", GAUGE, _one(lambda f: f.usage.pids)),
    Described("container_threads", "Threads inside.", GAUGE, _one(lambda f: f.tasks.threads)),
    Described("container_threads_max", "Threads allowed; 0 is no limit.", GAUGE, _one(lambda f: f.figures.threads_max)),
    Described("container_file_descriptors", "Open files.", GAUGE, _one(lambda f: f.tasks.file_descriptors)),
    Described("container_sockets", "Open sockets.", GAUGE, _one(lambda f: f.tasks.sockets)),
    Described(
        "container_ulimits_soft",
        "Soft limits of the first process.",
        GAUGE,
        lambda f: [(("max_open_files",), f.open_files)] if f.open_files else [],
        ("ulimit",),
    ),
)
SPEC = (
    Described("container_spec_cpu_period", "Period of the quota, µs.", GAUGE, _one(lambda f: f.figures.cpu_period_us)),
    Described(
        "container_spec_cpu_quota",
        "CPU quota, µs; absent where there is none.",
        GAUGE,
        lambda f: [((), f.figures.cpu_quota_us)] if f.figures.cpu_quota_us else [],
    ),
    Described("container_spec_cpu_shares", "CPU shares.", GAUGE, _one(lambda f: f.figures.cpu_shares)),
    Described(
        "container_spec_memory_limit_bytes",
        "Memory limit, bytes; 0 is none.",
        GAUGE,
        _one(lambda f: f.usage.memory_limit),
    ),
    Described(
        "container_spec_memory_reservation_limit_bytes",
        "Memory kept for it, bytes; 0 is none.",
        GAUGE,
        _one(lambda f: f.figures.memory_reservation),
    ),
    Described(
        "container_spec_memory_swap_limit_bytes",
        "Swap limit, bytes; 0 is none.",
        GAUGE,
        _one(lambda f: f.figures.swap_limit),
    ),
    Described("container_start_time_seconds", "Start, unix seconds.", GAUGE, _one(lambda f: f.started_at // SECOND)),
    Described("container_last_seen", "Last look at it, unix seconds.", GAUGE, _one(lambda f: f.seen_at // SECOND)),
)
PRESSURE = tuple(
    Described(
        f"container_pressure_{resource}_{word}_seconds_total",
        f"Time in which {whom} waited for {resource}, seconds.",
        COUNTER,
        _pressure(resource, read),
    )
    for resource in accounting.PRESSURES
    for word, whom, read in (
        ("waiting", "some tasks", lambda one: one.some_ns),
        ("stalled", "all tasks", lambda one: one.full_ns),
    )
)
CONTAINER: tuple[Described, ...] = (*CPU, *MEMORY, *DISK, *TASKS, *SPEC, *PRESSURE)
# What is told of a pod as a whole: the sum of its containers.
POD = (CPU[0], *MEMORY[:3])
NETWORK = (
    DescribedInterface("container_network_receive_bytes_total", "Bytes received.", lambda one: one.rx_bytes),
    DescribedInterface("container_network_receive_packets_total", "Packets received.", lambda one: one.rx_packets),
    DescribedInterface("container_network_receive_errors_total", "Errors on receipt.", lambda one: one.rx_errors),
    DescribedInterface(
        "container_network_receive_packets_dropped_total", "Received and dropped.", lambda one: one.rx_dropped
    ),
    DescribedInterface("container_network_transmit_bytes_total", "Bytes sent.", lambda one: one.tx_bytes),
    DescribedInterface("container_network_transmit_packets_total", "Packets sent.", lambda one: one.tx_packets),
    DescribedInterface("container_network_transmit_errors_total", "Errors on sending.", lambda one: one.tx_errors),
    DescribedInterface(
        "container_network_transmit_packets_dropped_total", "Not sent but dropped.", lambda one: one.tx_dropped
    ),
)


def descriptors() -> list[cri.MetricDescriptor]:
    """All that is ever told."""
    found = [cri.MetricDescriptor(name=one.name, help=one.help, label_keys=(*LABELS, *one.labels)) for one in CONTAINER]
    network = (*LABELS, "interface")
    return found + [cri.MetricDescriptor(name=one.name, help=one.help, label_keys=network) for one in NETWORK]


def sandboxes(machine: Machine, disk: summary.SandboxStats) -> list[cri.PodSandboxMetrics]:
    """Metrics of every standing sandbox and its running containers. Reads a few dozen files for each."""
    return [_sandbox(machine, disk, one) for one in machine.ledger.sandboxes() if one.phase is Phase.READY]


def _sandbox(machine: Machine, disk: summary.SandboxStats, record: SandboxRecord) -> cri.PodSandboxMetrics:
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


def _facts(machine: Machine, disk: summary.SandboxStats, record: ContainerRecord, now: int) -> ContainerFacts:
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
    record: ContainerRecord, facts: ContainerFacts, pod: cri.PodSandboxMetadata, now: int
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
