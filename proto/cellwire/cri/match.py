"""Which sandboxes, containers and stats a CRI filter selects. Pure; an absent filter selects everything.

Ids match by prefix, as every runtime's do, so that a person may shorten them.
"""

from __future__ import annotations

from collections.abc import Mapping

from cellwire.cri.v1 import runtime_pb2 as cri


def labels_match(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether `labels` has every pair of `selector`."""
    return all(labels.get(key) == value for key, value in selector.items())


def sandbox_matches(wanted: cri.PodSandboxFilter, sandbox: cri.PodSandbox) -> bool:
    """Whether a listed sandbox is one that the filter wants."""
    if wanted.id and not sandbox.id.startswith(wanted.id):
        return False
    if wanted.HasField("state") and sandbox.state != wanted.state.state:
        return False
    return labels_match(wanted.label_selector, sandbox.labels)


def container_matches(wanted: cri.ContainerFilter, container: cri.Container) -> bool:
    """Whether a listed container is one that the filter wants."""
    if wanted.id and not container.id.startswith(wanted.id):
        return False
    if wanted.pod_sandbox_id and not container.pod_sandbox_id.startswith(wanted.pod_sandbox_id):
        return False
    if wanted.HasField("state") and container.state != wanted.state.state:
        return False
    return labels_match(wanted.label_selector, container.labels)


def container_stats_match(wanted: cri.ContainerStatsFilter, stats: cri.ContainerStats, sandbox_id: str) -> bool:
    """Whether a container's stats are ones that the filter wants."""
    if wanted.id and not stats.attributes.id.startswith(wanted.id):
        return False
    if wanted.pod_sandbox_id and not sandbox_id.startswith(wanted.pod_sandbox_id):
        return False
    return labels_match(wanted.label_selector, stats.attributes.labels)


def sandbox_stats_match(wanted: cri.PodSandboxStatsFilter, stats: cri.PodSandboxStats) -> bool:
    """Whether a sandbox's stats are ones that the filter wants."""
    if wanted.id and not stats.attributes.id.startswith(wanted.id):
        return False
    return labels_match(wanted.label_selector, stats.attributes.labels)
