"""A pod whose instance the cloud will take: what it is told, by when, and what becomes of it. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from controller.model.cell import Announcement
from controller.objects.fields import Json
from controller.pods import lifecycle
from controller.pods.run import ContainerRun, PodRun, Terminated, Waiting
from controller.sandboxes.reducer import INTERRUPTED

REASONS = {"rebalance": "RebalanceRecommended", "maintenance": "MaintenanceScheduled"}


def reason(known: Announcement) -> str:
    """Of the pod's event."""
    return INTERRUPTED if known.ending_since or known.kind not in REASONS else REASONS[known.kind]


def interrupted(spec: Json, run: PodRun, cause: str, since: float, now: float) -> PodRun:
    """The run once its containers were ended for it: as after the loss of its cell, but with how they ended."""
    containers: dict[str, ContainerRun] = {}
    for container, _ in lifecycle.containers_of(spec):
        one = run.of(container["name"])
        state = one.state
        if isinstance(state, Waiting) and one.last is not None and one.last.container_id == one.id:
            state = one.last
        if isinstance(state, Terminated) and state.finished_at >= since:
            state = replace(state, reason=INTERRUPTED, message=state.message or cause)
        containers[one.name] = replace(one, state=state)
    return lifecycle.lost(spec, replace(run, containers=containers), cause, now, INTERRUPTED)
