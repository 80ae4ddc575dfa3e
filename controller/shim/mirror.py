"""What a cell's news makes of what the shim knows. Pure: messages in, messages out.

The kubelet is never told of a container that goes back in time: an exited container stays exited with the exit code
first seen, whatever a cell that lost its disk may say later, and one that runs is not merely created again, since a
kubelet starts another in the place of such a one.
"""

from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri

CELL_LOST = "CellLost"
INTERRUPTED = "Interrupted"
NANOSECONDS = 1_000_000_000


def listed_sandbox(status: cri.PodSandboxStatus) -> cri.PodSandbox:
    """The entry of ListPodSandbox that says the same as a status."""
    return cri.PodSandbox(
        id=status.id,
        metadata=status.metadata,
        state=status.state,
        created_at=status.created_at,
        labels=status.labels,
        annotations=status.annotations,
        runtime_handler=status.runtime_handler,
    )


def listed_container(status: cri.ContainerStatus, sandbox_id: str) -> cri.Container:
    """The entry of ListContainers that says the same as a status."""
    return cri.Container(
        id=status.id,
        pod_sandbox_id=sandbox_id,
        metadata=status.metadata,
        image=status.image,
        image_ref=status.image_ref,
        state=status.state,
        created_at=status.created_at,
        labels=status.labels,
        annotations=status.annotations,
        image_id=status.image_id,
    )


def next_sandbox(known: cri.PodSandboxStatus, news: cri.PodSandboxStatus) -> cri.PodSandboxStatus:
    """The sandbox after news of it: once not ready, never ready again."""
    if known.state == cri.SANDBOX_NOTREADY:
        return known
    merged = cri.PodSandboxStatus()
    merged.CopyFrom(news)
    return merged


def next_container(known: cri.ContainerStatus, news: cri.ContainerStatus) -> cri.ContainerStatus:
    """The container after news of it: the log path and mounts stay the kubelet's own, an older state is no news."""
    backwards = known.state == cri.CONTAINER_RUNNING and news.state == cri.CONTAINER_CREATED
    if known.state == cri.CONTAINER_EXITED or backwards:
        return known
    merged = cri.ContainerStatus()
    merged.CopyFrom(news)
    merged.log_path = known.log_path
    del merged.mounts[:]
    merged.mounts.extend(known.mounts)
    return merged


def with_cause(known: cri.ContainerStatus, news: cri.ContainerStatus, cause: str) -> cri.ContainerStatus:
    """News of a container whose instance will be taken: if it has ended now, that is why; its exit code stays."""
    if not cause or known.state == cri.CONTAINER_EXITED or news.state != cri.CONTAINER_EXITED:
        return news
    told = cri.ContainerStatus()
    told.CopyFrom(news)
    told.reason, told.message = INTERRUPTED, news.message or cause
    return told


def exited(status: bytes) -> bool:
    """Whether a stored status is that of a container which has ended."""
    return cri.ContainerStatus.FromString(status).state == cri.CONTAINER_EXITED


def not_ready(known: cri.PodSandboxStatus) -> cri.PodSandboxStatus:
    """The sandbox once stopped or lost."""
    merged = cri.PodSandboxStatus()
    merged.CopyFrom(known)
    merged.state = cri.SANDBOX_NOTREADY
    return merged


def lost(known: cri.ContainerStatus, cause: str, now: float) -> cri.ContainerStatus:
    """The container whose cell is gone: exited with reason CellLost, unless it had exited before."""
    if known.state == cri.CONTAINER_EXITED:
        return known
    merged = cri.ContainerStatus()
    merged.CopyFrom(known)
    merged.state = cri.CONTAINER_EXITED
    merged.exit_code = 137
    merged.reason = CELL_LOST
    merged.message = cause
    merged.started_at = known.started_at or known.created_at
    merged.finished_at = int(now * NANOSECONDS)
    return merged
