"""What vulture takes for dead and is not: called by gRPC, asyncio or C, read by others, or written for the record."""

# CRI's services, by name; the kubelet's calls of grpclib's tables.
Version, StreamImages, ImageFsInfo, RemovePodSandbox, ReopenContainerLog, CheckpointContainer, CheckpointPod, RestorePod
RuntimeConfig, UpdateRuntimeConfig, StreamPodSandboxes, StreamContainers, StreamContainerStats, StreamPodSandboxStats
StreamPodSandboxMetrics, ListMetricDescriptors
# asyncio's protocols, grpclib's parts, SSL contexts, protobuf messages and tar headers.
pause_writing, resume_writing, data_received, get_buffer, buffer_updated, unacked_size, num_tickets, mountpoint, linkname, gname
_body_repr, body_len, incoming_buffer, encoder, data_sent, max_inbound_frame_size, create_stream, _wrapper, _scheme
# What PyYAML reads of a loader, and an argument of executors.
yaml_implicit_resolvers, cancel_futures
# The numbers of SPDY; fields of records and of plans that are read as a table.
SETTINGS, WINDOW_UPDATE, INVALID_STREAM, INTERNAL_ERROR, unidirectional
delegate, cgroup_mounts, storage_gb, disk_bytes, preloaded
# Asked by tests that hold documents to the code, and how many strangers there are.
UNDERSTOOD, guests
# What a setting says where it is not the other.
ETCD
