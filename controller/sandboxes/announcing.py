"""Which container events the change of a record makes, and what they say. Pure but for the moment that is handed in.

As other runtimes do, a sandbox has events of its own, in which it stands for the container. A container that came and
went between two pieces of news has still started before it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable

from cellwire.cri.v1 import runtime_pb2 as cri

Kind = cri.ContainerEventType.ValueType
FIRST: tuple[Kind, ...] = (cri.CONTAINER_CREATED_EVENT, cri.CONTAINER_STARTED_EVENT)
STEPS: tuple[Kind, ...] = (*FIRST, cri.CONTAINER_STOPPED_EVENT)


def of_container(before: bytes | None, after: bytes) -> tuple[Kind, ...]:
    """From a container's status as it was stored (None: it is new) and as it is."""
    now = cri.ContainerStatus.FromString(after)
    if now.state not in {cri.CONTAINER_CREATED, cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED}:
        return ()
    done = cri.ContainerStatus.FromString(before).state + 1 if before is not None else 0
    steps = STEPS[done : now.state + 1]
    ever_ran = now.state == cri.CONTAINER_RUNNING or now.started_at
    return tuple(kind for kind in steps if kind != cri.CONTAINER_STARTED_EVENT or ever_ran)


def of_sandbox(before: bytes | None, after: bytes) -> tuple[Kind, ...]:
    """From a sandbox's status as it was stored (None: it is new) and as it is."""
    ready = cri.PodSandboxStatus.FromString(after).state == cri.SANDBOX_READY
    if before is None:
        return FIRST if ready else STEPS
    was_ready = cri.PodSandboxStatus.FromString(before).state == cri.SANDBOX_READY
    return (cri.CONTAINER_STOPPED_EVENT,) if was_ready and not ready else ()


def event(kind: Kind, thing: str, at: int, sandbox: bytes, containers: Iterable[bytes]) -> cri.ContainerEventResponse:
    """One event of a container or sandbox, with the stored statuses of the sandbox and of all its containers."""
    told = cri.ContainerEventResponse(container_id=thing, container_event_type=kind, created_at=at)
    if sandbox:
        told.pod_sandbox_status.ParseFromString(sandbox)
    told.containers_statuses.extend(cri.ContainerStatus.FromString(one) for one in containers)
    return told
