"""Reduces a cell's news: the next status of a sandbox or container, and the container events that follow. Pure.

The kubelet is never told of a container that goes back in time: an exited container stays exited with the exit code
first seen, whatever a cell that lost its disk may say later, and one that runs is not merely created again, since a
kubelet starts another in the place of such a one. As other runtimes do, a sandbox has events of its own, in which it
stands for the container; a container that came and went between two pieces of news has still started before it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cellwire.cri.v1 import runtime_pb2 as cri

Named = Any
"""A message with metadata, labels and annotations."""
CELL_LOST = "CellLost"
INTERRUPTED = "Interrupted"
UNKNOWN = "ContainerStatusUnknown"
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
    _keep_names(merged, known)
    merged.created_at, merged.runtime_handler = known.created_at, known.runtime_handler
    return merged


def name_sandbox(status: cri.PodSandboxStatus, config: cri.PodSandboxConfig, runtime_handler: str) -> None:
    """Make what a cell says of its new sandbox say what was asked for."""
    _keep_names(status, config)
    status.runtime_handler = runtime_handler


def named_container(container_id: str, config: cri.ContainerConfig, log_path: str) -> cri.ContainerStatus:
    """What is known of a new container before its cell tells of it: what was asked for, with the paths of those who
    asked.
    """
    status = cri.ContainerStatus(id=container_id, image=config.image, mounts=config.mounts, log_path=log_path)
    _keep_names(status, config)
    return status


def made_container(named: cri.ContainerStatus, told: cri.ContainerStatus) -> cri.ContainerStatus:
    """The same, with what only the cell knows, as it was before it ran."""
    merged = cri.ContainerStatus()
    merged.CopyFrom(named)
    merged.created_at, merged.stop_signal = told.created_at, told.stop_signal
    merged.image_ref, merged.image_id = told.image_ref, told.image_id
    merged.user.CopyFrom(told.user)
    merged.resources.CopyFrom(told.resources)
    for mount, on_cell in zip(merged.mounts, told.mounts, strict=False):
        if mount.HasField("image"):
            mount.image.image_ref = on_cell.image.image_ref
    return merged


def _keep_names(status: Named, known: Named) -> None:
    status.metadata.CopyFrom(known.metadata)
    status.labels.clear()
    status.labels.update(known.labels)
    status.annotations.clear()
    status.annotations.update(known.annotations)


def next_container(known: cri.ContainerStatus, news: cri.ContainerStatus) -> cri.ContainerStatus:
    """The container after news of it: names, log path and mounts stay the kubelet's own, an older state is no news."""
    backwards = known.state == cri.CONTAINER_RUNNING and news.state == cri.CONTAINER_CREATED
    if known.state == cri.CONTAINER_EXITED or backwards:
        return known
    merged = cri.ContainerStatus()
    merged.CopyFrom(news)
    _keep_names(merged, known)
    merged.created_at = known.created_at
    merged.image.CopyFrom(known.image)
    merged.image_ref, merged.image_id = known.image_ref, known.image_id
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


def lost(known: cri.ContainerStatus, cause: str, now: float, reason: str = CELL_LOST) -> cri.ContainerStatus:
    """The container whose cell is gone, or knows it no more: exited for that reason, unless it had exited before."""
    if known.state == cri.CONTAINER_EXITED:
        return known
    merged = cri.ContainerStatus()
    merged.CopyFrom(known)
    merged.state = cri.CONTAINER_EXITED
    merged.exit_code = 137
    merged.reason = reason
    merged.message = cause
    merged.started_at = known.started_at or known.created_at
    merged.finished_at = int(now * NANOSECONDS)
    return merged


EventKind = cri.ContainerEventType.ValueType
FIRST: tuple[EventKind, ...] = (cri.CONTAINER_CREATED_EVENT, cri.CONTAINER_STARTED_EVENT)
STEPS: tuple[EventKind, ...] = (*FIRST, cri.CONTAINER_STOPPED_EVENT)


def container_events(before: bytes | None, after: bytes) -> tuple[EventKind, ...]:
    """From a container's status as it was stored (None: it is new) and as it is."""
    now = cri.ContainerStatus.FromString(after)
    if now.state not in {cri.CONTAINER_CREATED, cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED}:
        return ()
    done = cri.ContainerStatus.FromString(before).state + 1 if before is not None else 0
    steps = STEPS[done : now.state + 1]
    ever_ran = now.state == cri.CONTAINER_RUNNING or now.started_at
    return tuple(kind for kind in steps if kind != cri.CONTAINER_STARTED_EVENT or ever_ran)


def sandbox_events(before: bytes | None, after: bytes) -> tuple[EventKind, ...]:
    """From a sandbox's status as it was stored (None: it is new) and as it is."""
    ready = cri.PodSandboxStatus.FromString(after).state == cri.SANDBOX_READY
    if before is None:
        return FIRST if ready else STEPS
    was_ready = cri.PodSandboxStatus.FromString(before).state == cri.SANDBOX_READY
    return (cri.CONTAINER_STOPPED_EVENT,) if was_ready and not ready else ()


def event(
    kind: EventKind, thing: str, at: int, sandbox: bytes, containers: Iterable[bytes]
) -> cri.ContainerEventResponse:
    """One event of a container or sandbox, with the stored statuses of the sandbox and of all its containers."""
    told = cri.ContainerEventResponse(container_id=thing, container_event_type=kind, created_at=at)
    if sandbox:
        told.pod_sandbox_status.ParseFromString(sandbox)
    told.containers_statuses.extend(cri.ContainerStatus.FromString(one) for one in containers)
    return told
