"""What a kubelet reads of a runtime beside lists and statuses, checked alike at either end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call

# The names without which a node's conformance fails where a kubelet takes its metrics from the runtime.
NEEDED_WORDS = (
    "cpu_cfs_periods_total", "cpu_cfs_throttled_periods_total", "cpu_cfs_throttled_seconds_total",
    "cpu_system_seconds_total", "cpu_usage_seconds_total", "cpu_user_seconds_total", "file_descriptors",
    "fs_usage_bytes", "last_seen", "memory_cache", "memory_failures_total", "memory_kernel_usage",
    "memory_mapped_file", "memory_max_usage_bytes", "memory_rss", "memory_swap", "memory_usage_bytes",
    "memory_working_set_bytes", "oom_events_total", "processes", "sockets", "spec_cpu_period", "spec_cpu_shares",
    "spec_memory_limit_bytes", "spec_memory_reservation_limit_bytes", "spec_memory_swap_limit_bytes",
    "start_time_seconds", "threads", "threads_max", "ulimits_soft",
)  # fmt: skip
# Told where there was anything to read or write.
DESCRIBED_WORDS = (
    "fs_reads_bytes_total", "fs_reads_total", "fs_writes_bytes_total", "fs_writes_total",
    "blkio_device_usage_total", "memory_failcnt", "spec_cpu_quota", "fs_inodes_free", "fs_inodes_total",
    "fs_limit_bytes", "hugetlb_usage_bytes", "pressure_cpu_waiting_seconds_total",
)  # fmt: skip
NEEDED = frozenset(f"container_{word}" for word in NEEDED_WORDS)
DESCRIBED = frozenset(f"container_{word}" for word in DESCRIBED_WORDS)
NETWORK = frozenset(
    f"container_network_{way}_{what}_total"
    for way in ("receive", "transmit")
    for what in ("bytes", "errors", "packets_dropped", "packets")
)
Stub = runtime_grpc.RuntimeServiceStub


async def require_introduction(stub: Stub) -> cri.StatusResponse:
    """What is asked before the first pod; the verbose status is returned."""
    version = await call(stub.Version, cri.VersionRequest(), deadline=5)
    assert (version.version, version.runtime_name, version.runtime_api_version) == ("0.1.0", "chinampa", "v1")
    assert version.runtime_version
    configuration = await call(stub.RuntimeConfig, cri.RuntimeConfigRequest(), deadline=5)
    assert configuration.linux.cgroup_driver == cri.CGROUPFS
    network = cri.RuntimeConfig(network_config=cri.NetworkConfig(pod_cidr="10.9.0.0/24"))
    await call(stub.UpdateRuntimeConfig, cri.UpdateRuntimeConfigRequest(runtime_config=network), deadline=5)
    plain = await call(stub.Status, cri.StatusRequest(), deadline=5)
    assert {one.type: one.status for one in plain.status.conditions} == {"RuntimeReady": True, "NetworkReady": True}
    assert plain.features.supplemental_groups_policy
    assert not plain.info
    verbose = await call(stub.Status, cri.StatusRequest(verbose=True), deadline=5)
    assert verbose.info["config"]
    # Any kernel that this runs on can make a mount read-only with all below it; others say so at least.
    recursive = tuple(int(one) for one in Path("/proc/sys/kernel/osrelease").read_text().split(".")[:2]) >= (5, 12)
    handlers = {one.name: one.features for one in verbose.runtime_handlers}
    assert {"", "chinampa"} <= handlers.keys()
    assert {one.recursive_read_only_mounts for one in handlers.values()} == {recursive}
    return verbose


async def require_honest_refusals(stub: Stub, sandbox: str) -> None:
    """What no criu does for a pod is refused with a sentence, as a thing that is not there."""
    for asked in (
        call(stub.CheckpointPod, cri.CheckpointPodRequest(pod_sandbox_id=sandbox), deadline=5),
        call(stub.RestorePod, cri.RestorePodRequest(), deadline=5),
    ):
        with pytest.raises(Fault, match=r"checkpoint|restoring") as refused:
            await asked
        assert refused.value.kind is Kind.UNSUPPORTED


async def require_stats(stub: Stub, sandbox: str, container: str, mountpoint: str) -> None:
    """Of a container that has written a mebibyte to its root, and of its pod."""
    one = (await call(stub.ContainerStats, cri.ContainerStatsRequest(container_id=container), deadline=10)).stats
    require_container(one, container, mountpoint)
    pod = (await call(stub.PodSandboxStats, cri.PodSandboxStatsRequest(pod_sandbox_id=sandbox), deadline=10)).stats
    assert (pod.attributes.id, pod.attributes.labels["app"]) == (sandbox, "web")
    assert pod.attributes.metadata.uid
    linux = pod.linux
    assert linux.cpu.usage_core_nano_seconds.value > 0
    assert linux.memory.working_set_bytes.value > 0
    assert linux.process.process_count.value >= 1
    assert linux.network.default_interface.name == "eth0"
    assert linux.network.default_interface.HasField("rx_bytes")
    assert linux.network.default_interface.HasField("tx_bytes")
    (inner,) = linux.containers
    require_container(inner, container, mountpoint)
    for stats in (one, pod.linux):
        assert stats.cpu.timestamp > 0
        assert stats.memory.timestamp > 0
    for missing in (
        call(stub.ContainerStats, cri.ContainerStatsRequest(container_id="unknown"), deadline=5),
        call(stub.PodSandboxStats, cri.PodSandboxStatsRequest(pod_sandbox_id="unknown"), deadline=5),
    ):
        with pytest.raises(Fault) as caught:
            await missing
        assert caught.value.kind is Kind.NOT_FOUND


def require_container(stats: cri.ContainerStats, container: str, mountpoint: str) -> None:
    """The fields from which a kubelet makes its summary."""
    assert (stats.attributes.id, stats.attributes.labels["tier"]) == (container, "front")
    assert stats.attributes.metadata.name
    assert stats.cpu.usage_core_nano_seconds.value > 0
    assert stats.cpu.HasField("usage_nano_cores")
    assert 0 < stats.memory.rss_bytes.value <= stats.memory.usage_bytes.value
    assert 0 < stats.memory.working_set_bytes.value <= stats.memory.usage_bytes.value
    assert 0 < stats.memory.available_bytes.value < 64 << 20
    assert stats.memory.page_faults.value > 0
    assert stats.writable_layer.fs_id.mountpoint == mountpoint
    assert Path(mountpoint).is_dir()
    assert stats.writable_layer.used_bytes.value >= 1 << 20
    assert stats.writable_layer.inodes_used.value >= 1


async def require_metrics(stub: Stub, sandbox: str, container: str) -> None:
    """Every needed name, described with as many labels as it is told with."""
    described = await call(stub.ListMetricDescriptors, cri.ListMetricDescriptorsRequest(), deadline=5)
    labels = {one.name: len(one.label_keys) for one in described.descriptors}
    assert labels.keys() >= NEEDED | DESCRIBED | NETWORK
    assert all(one.help for one in described.descriptors)
    async with asyncio.timeout(20):
        while not (pods := await _metrics(stub, sandbox)) or not pods[0].container_metrics:
            await asyncio.sleep(0.2)
    (pod,) = pods
    (found,) = pod.container_metrics
    assert found.container_id == container
    assert {one.name for one in found.metrics} >= NEEDED
    assert {one.name for one in pod.metrics} >= NETWORK
    for one in (*pod.metrics, *found.metrics):
        assert len(one.label_values) == labels[one.name], one.name
    values = {one.name: one.value.value for one in found.metrics}
    assert values["container_spec_memory_limit_bytes"] == 64 << 20
    assert values["container_processes"] >= 1
    assert values["container_memory_working_set_bytes"] > 0
    kinds = {one.name: one.metric_type for one in found.metrics}
    assert kinds["container_cpu_usage_seconds_total"] == cri.COUNTER
    assert kinds["container_memory_rss"] == cri.GAUGE


async def _metrics(stub: Stub, sandbox: str) -> list[cri.PodSandboxMetrics]:
    told = await call(stub.ListPodSandboxMetrics, cri.ListPodSandboxMetricsRequest(), deadline=10)
    streamed = await stub.StreamPodSandboxMetrics(cri.StreamPodSandboxMetricsRequest())
    names = [one.pod_sandbox_id for reply in streamed for one in reply.pod_sandbox_metrics]
    assert names == [one.pod_sandbox_id for one in told.pod_metrics]
    return [one for one in told.pod_metrics if one.pod_sandbox_id == sandbox]
