"""Measurements of a cell, held against what is recorded of its sandbox and containers. Pure: see `told`.

Names, labels and owners are those that are recorded, whatever the cell tells. A kubelet takes the rest as it comes: a
metric without a value ends it, and a series that comes twice costs the node all of its metrics. So of metrics those
pass that our agents tell, each of their series once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cellwire.cri import cadvisor_metrics
from cellwire.cri.v1 import runtime_pb2 as cri
from controller.sandboxes.told import LARGEST_ALL, LATEST, MOST_CONTAINERS, NAME, untrue

# How many labels each metric has.
_LABELS = {one.name: len(one.label_keys) for one in cadvisor_metrics.descriptors()}
_KINDS = frozenset({cri.COUNTER, cri.GAUGE})


class Recorded(msgspec.Struct, frozen=True):
    """The sandbox of a cell and its containers by id, as lists show them."""

    sandbox: cri.PodSandbox
    containers: Mapping[str, cri.Container]


class Measured(msgspec.Struct, frozen=True):
    """The stats of one cell, of what is its own: by container; of the sandbox; and its metrics."""

    containers: dict[str, cri.ContainerStats]
    sandbox: cri.PodSandboxStats | None
    metrics: cri.PodSandboxMetrics | None


def stats(
    containers_told: cri.ListContainerStatsResponse,
    sandboxes_told: cri.ListPodSandboxStatsResponse,
    metrics_told: cri.ListPodSandboxMetricsResponse,
    own: Recorded,
) -> Measured:
    """What a cell tells of its own sandbox and containers; what it tells of others is left out. Raises Fault."""
    thing = f"stats of sandbox {own.sandbox.id[:13]}"
    for message, count in (
        (containers_told, len(containers_told.stats)),
        (sandboxes_told, len(sandboxes_told.stats)),
        (metrics_told, len(metrics_told.pod_metrics)),
    ):
        if count > MOST_CONTAINERS or message.ByteSize() > LARGEST_ALL:
            raise untrue(thing, f"there are {count} of them, of {message.ByteSize()} bytes")
    of_containers = {one.attributes.id: one for one in _named(containers_told.stats, own)}
    of_sandbox = next((one for one in sandboxes_told.stats if one.attributes.id == own.sandbox.id), None)
    if of_sandbox is not None:
        of_sandbox.attributes.CopyFrom(
            cri.PodSandboxAttributes(
                id=own.sandbox.id,
                metadata=own.sandbox.metadata,
                labels=own.sandbox.labels,
                annotations=own.sandbox.annotations,
            )
        )
        mine = _named(of_sandbox.linux.containers, own)
        del of_sandbox.linux.containers[:]
        of_sandbox.linux.containers.extend(mine)
        # A kubelet takes these for there, and ends where they are not.
        of_sandbox.linux.SetInParent()
        if not of_sandbox.linux.network.HasField("default_interface"):
            of_sandbox.linux.ClearField("network")
    of_pod = next((one for one in metrics_told.pod_metrics if one.pod_sandbox_id == own.sandbox.id), None)
    return Measured(of_containers, of_sandbox, _metrics(of_pod, own) if of_pod is not None else None)


def _named(told: Iterable[cri.ContainerStats], own: Recorded) -> list[cri.ContainerStats]:
    """Of the cell's own containers, under their own names."""
    found = [one for one in told if one.attributes.id in own.containers]
    for one in found:
        known = own.containers[one.attributes.id]
        one.attributes.CopyFrom(
            cri.ContainerAttributes(
                id=known.id, metadata=known.metadata, labels=known.labels, annotations=known.annotations
            )
        )
    return found


def _metrics(told: cri.PodSandboxMetrics, own: Recorded) -> cri.PodSandboxMetrics:
    seen: set[tuple[str, ...]] = set()
    found = cri.PodSandboxMetrics(pod_sandbox_id=own.sandbox.id)
    found.metrics.extend(_series(told.metrics, own.sandbox, own.sandbox.id, "", seen))
    for one in told.container_metrics:
        known = own.containers.get(one.container_id)
        if known is not None:
            kept = _series(one.metrics, own.sandbox, known.id, known.metadata.name, seen)
            found.container_metrics.append(cri.ContainerMetrics(container_id=known.id, metrics=kept))
    return found


def _series(
    told: Iterable[cri.Metric], pod: cri.PodSandbox, name: str, container: str, seen: set[tuple[str, ...]]
) -> list[cri.Metric]:
    """Metrics that our agents tell, with the labels that are ours to say; each series once."""
    found: list[cri.Metric] = []
    for one in told:
        labels = one.label_values
        sound = one.HasField("value") and one.metric_type in _KINDS and 0 <= one.timestamp <= LATEST
        if not sound or len(labels) != _LABELS.get(one.name) or any(len(label) > NAME for label in labels):
            continue
        # By their places in `cadvisor_metrics.LABELS`: id, name, image, container, pod, namespace.
        labels[1], labels[3], labels[4], labels[5] = name, container, pod.metadata.name, pod.metadata.namespace
        if (series := (one.name, *labels)) not in seen:
            seen.add(series)
            found.append(one)
    return found
