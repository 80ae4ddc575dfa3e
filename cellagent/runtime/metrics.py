"""Pod metrics under cAdvisor's names, for a kubelet that asks its runtime instead of looking itself."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from cellagent.kernel import cgroups
from cellagent.runtime import stats
from cellagent.runtime.machine import Machine
from cellagent.runtime.records import ContainerRecord, Phase, SandboxRecord
from cellwire.cri.v1 import runtime_pb2 as cri

LABELS = ("id", "name", "image", "container", "pod", "namespace")
NETWORK_LABELS = (*LABELS, "interface")


class Described(msgspec.Struct, frozen=True):
    """One metric: name, words, kind, the field that it is read from, and what that is divided by."""

    name: str
    help: str
    kind: cri.MetricType.ValueType
    field: str
    divisor: int = 1


CONTAINER = (
    Described("container_cpu_usage_seconds_total", "CPU time used, seconds.", cri.COUNTER, "cpu_ns", 1_000_000_000),
    Described("container_memory_usage_bytes", "Memory used, bytes, caches included.", cri.GAUGE, "memory_bytes"),
    Described("container_memory_working_set_bytes", "Memory in active use, bytes.", cri.GAUGE, "working_set_bytes"),
    Described("container_memory_rss", "Anonymous memory, bytes.", cri.GAUGE, "rss_bytes"),
    Described("container_memory_failures_total", "Page faults.", cri.COUNTER, "page_faults"),
    Described("container_spec_memory_limit_bytes", "Memory limit, bytes.", cri.GAUGE, "memory_limit"),
    Described("container_processes", "Processes inside.", cri.GAUGE, "pids"),
    Described("container_oom_events_total", "Processes killed for want of memory.", cri.COUNTER, "oom_kills"),
)
NETWORK = (
    Described("container_network_receive_bytes_total", "Bytes received.", cri.COUNTER, "rx_bytes"),
    Described("container_network_receive_packets_total", "Packets received.", cri.COUNTER, "rx_packets"),
    Described("container_network_receive_errors_total", "Errors while receiving.", cri.COUNTER, "rx_errors"),
    Described("container_network_receive_packets_dropped_total", "Received and dropped.", cri.COUNTER, "rx_dropped"),
    Described("container_network_transmit_bytes_total", "Bytes sent.", cri.COUNTER, "tx_bytes"),
    Described("container_network_transmit_packets_total", "Packets sent.", cri.COUNTER, "tx_packets"),
    Described("container_network_transmit_errors_total", "Errors while sending.", cri.COUNTER, "tx_errors"),
    Described("container_network_transmit_packets_dropped_total", "Not sent but dropped.", cri.COUNTER, "tx_dropped"),
)
START_TIME = "container_start_time_seconds"


def descriptors() -> list[cri.MetricDescriptor]:
    """All that is ever told."""
    found = [cri.MetricDescriptor(name=one.name, help=one.help, label_keys=LABELS) for one in CONTAINER]
    found.append(cri.MetricDescriptor(name=START_TIME, help="Start, unix seconds.", label_keys=LABELS))
    found += [cri.MetricDescriptor(name=one.name, help=one.help, label_keys=NETWORK_LABELS) for one in NETWORK]
    return found


def sandboxes(machine: Machine) -> list[cri.PodSandboxMetrics]:
    """Metrics of every standing sandbox and its running containers."""
    return [_sandbox(machine, one) for one in machine.ledger.sandboxes() if one.phase is Phase.READY]


def _sandbox(machine: Machine, record: SandboxRecord) -> cri.PodSandboxMetrics:
    now, meta = time.time_ns(), record.parsed().metadata
    running = [one for one in machine.ledger.containers(record.id) if one.phase is Phase.RUNNING]
    usages = [cgroups.Group(one.cgroup).usage() for one in running]
    labels = (record.cgroup, record.id, "", "", meta.name, meta.namespace)
    found = [_metric(one, stats.total(usages), labels, now) for one in CONTAINER]
    for interface in stats.interfaces(running):
        found += [_metric(one, interface, (*labels, interface.name), now) for one in NETWORK]
    told = [_container(one, usage, meta, now) for one, usage in zip(running, usages, strict=True)]
    return cri.PodSandboxMetrics(pod_sandbox_id=record.id, metrics=found, container_metrics=told)


def _container(
    record: ContainerRecord, usage: cgroups.Usage, pod: cri.PodSandboxMetadata, now: int
) -> cri.ContainerMetrics:
    config = record.parsed()
    labels = (record.cgroup, record.id, config.image.image, config.metadata.name, pod.name, pod.namespace)
    found = [_metric(one, usage, labels, now) for one in CONTAINER]
    started = cri.UInt64Value(value=record.started_at // 1_000_000_000)
    found.append(cri.Metric(name=START_TIME, timestamp=now, metric_type=cri.GAUGE, label_values=labels, value=started))
    return cri.ContainerMetrics(container_id=record.id, metrics=found)


def _metric(
    described: Described, source: cgroups.Usage | stats.Interface, labels: Sequence[str], now: int
) -> cri.Metric:
    number: int = getattr(source, described.field)
    return cri.Metric(
        name=described.name,
        timestamp=now,
        metric_type=described.kind,
        label_values=labels,
        value=cri.UInt64Value(value=number // described.divisor),
    )
