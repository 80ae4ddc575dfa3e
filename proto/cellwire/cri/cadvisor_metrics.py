"""Metrics of pods under cAdvisor's names: what they are called and mean. A kubelet asks for this once, at its start,
when there may be no cell yet that could tell.
"""

from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri

LABELS = ("id", "name", "image", "container", "pod", "namespace")
"""Of every metric, before its own."""
INTERFACE = (*LABELS, "interface")
CONTAINER: dict[str, tuple[str, tuple[str, ...]]] = {
    "container_cpu_usage_seconds_total": ("CPU time, seconds.", ()),
    "container_cpu_user_seconds_total": ("CPU time in user mode, seconds.", ()),
    "container_cpu_system_seconds_total": ("CPU time in the kernel, seconds.", ()),
    "container_cpu_cfs_periods_total": ("Periods of the quota.", ()),
    "container_cpu_cfs_throttled_periods_total": ("Periods in which the quota was used up.", ()),
    "container_cpu_cfs_throttled_seconds_total": ("Time held back by the quota, seconds.", ()),
    "container_memory_usage_bytes": ("Memory used, bytes, caches included.", ()),
    "container_memory_working_set_bytes": ("Memory in active use, bytes.", ()),
    "container_memory_rss": ("Anonymous memory, bytes.", ()),
    "container_memory_cache": ("Page cache, bytes.", ()),
    "container_memory_mapped_file": ("Mapped files, bytes.", ()),
    "container_memory_kernel_usage": ("Kernel memory, bytes.", ()),
    "container_memory_swap": ("Swap used, bytes.", ()),
    "container_memory_max_usage_bytes": ("Highest use so far, bytes.", ()),
    "container_memory_failcnt": ("How often the limit was hit.", ()),
    "container_memory_failures_total": ("Page faults.", ("failure_type", "scope")),
    "container_oom_events_total": ("Processes killed for want of memory.", ()),
    "container_hugetlb_usage_bytes": ("Huge pages used, bytes.", ("pagesize",)),
    "container_hugetlb_max_usage_bytes": ("Highest use of huge pages, bytes.", ("pagesize",)),
    "container_fs_usage_bytes": ("The writable layer, bytes.", ("device",)),
    "container_fs_limit_bytes": ("Size of its filesystem, bytes.", ("device",)),
    "container_fs_inodes_total": ("Inodes of its filesystem.", ("device",)),
    "container_fs_inodes_free": ("Inodes free there.", ("device",)),
    "container_fs_reads_bytes_total": ("Bytes read.", ("device",)),
    "container_fs_reads_total": ("Reads.", ("device",)),
    "container_fs_writes_bytes_total": ("Bytes written.", ("device",)),
    "container_fs_writes_total": ("Writes.", ("device",)),
    "container_blkio_device_usage_total": ("Bytes by block device.", ("device", "major", "minor", "operation")),
    "container_processes": ("Processes inside.", ()),
    "container_threads": ("Threads inside.", ()),
    "container_threads_max": ("Threads allowed; 0 is no limit.", ()),
    "container_file_descriptors": ("Open files.", ()),
    "container_sockets": ("Open sockets.", ()),
    "container_ulimits_soft": ("Soft limits of the first process.", ("ulimit",)),
    "container_spec_cpu_period": ("Period of the quota, µs.", ()),
    "container_spec_cpu_quota": ("CPU quota, µs; absent where there is none.", ()),
    "container_spec_cpu_shares": ("CPU shares.", ()),
    "container_spec_memory_limit_bytes": ("Memory limit, bytes; 0 is none.", ()),
    "container_spec_memory_reservation_limit_bytes": ("Memory kept for it, bytes; 0 is none.", ()),
    "container_spec_memory_swap_limit_bytes": ("Swap limit, bytes; 0 is none.", ()),
    "container_start_time_seconds": ("Start, unix seconds.", ()),
    "container_last_seen": ("Last look at it, unix seconds.", ()),
    "container_pressure_cpu_waiting_seconds_total": ("Time in which some tasks waited for cpu, seconds.", ()),
    "container_pressure_cpu_stalled_seconds_total": ("Time in which all tasks waited for cpu, seconds.", ()),
    "container_pressure_memory_waiting_seconds_total": ("Time in which some tasks waited for memory, seconds.", ()),
    "container_pressure_memory_stalled_seconds_total": ("Time in which all tasks waited for memory, seconds.", ()),
    "container_pressure_io_waiting_seconds_total": ("Time in which some tasks waited for io, seconds.", ()),
    "container_pressure_io_stalled_seconds_total": ("Time in which all tasks waited for io, seconds.", ()),
}
"""Of containers, and some of them of a pod as a whole: help, and labels of its own."""
NETWORK: dict[str, str] = {
    "container_network_receive_bytes_total": "Bytes received.",
    "container_network_receive_packets_total": "Packets received.",
    "container_network_receive_errors_total": "Errors on receipt.",
    "container_network_receive_packets_dropped_total": "Received and dropped.",
    "container_network_transmit_bytes_total": "Bytes sent.",
    "container_network_transmit_packets_total": "Packets sent.",
    "container_network_transmit_errors_total": "Errors on sending.",
    "container_network_transmit_packets_dropped_total": "Not sent but dropped.",
}
"""Of a pod's network interfaces: help."""


def descriptors() -> tuple[cri.MetricDescriptor, ...]:
    """All that is ever told."""
    return (
        *(
            cri.MetricDescriptor(name=name, help=words, label_keys=(*LABELS, *labels))
            for name, (words, labels) in CONTAINER.items()
        ),
        *(cri.MetricDescriptor(name=name, help=words, label_keys=INTERFACE) for name, words in NETWORK.items()),
    )
