"""Replica sets: so many pods of one template. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from controller.objects.fields import Json
from controller.workloads.steps import (
    BURST,
    Create,
    Delete,
    Plan,
    Step,
    active,
    available,
    earliest,
    from_template,
    owned,
    ready_since,
)


def plan(one: Json, pods: Sequence[Json], now: float) -> Plan:
    """What to do for a replica set whose namespace holds these pods."""
    if one["metadata"].get("deletionTimestamp"):
        return Plan()
    spec = one["spec"]
    wanted = int(spec.get("replicas", 1))
    mine = owned(pods, one)
    running = [pod for pod in mine if active(pod)]
    steps: list[Step] = []
    if len(running) < wanted:
        steps += [
            Create("pods", from_template(one, spec["template"])) for _ in range(min(wanted - len(running), BURST))
        ]
    elif len(running) > wanted:
        leaving = sorted(running, key=_worth)[: len(running) - wanted]
        steps += [Delete("pods", pod["metadata"]["name"]) for pod in leaving]
    # What is over is replaced, and nothing more is to be had of it.
    steps += [Delete("pods", pod["metadata"]["name"]) for pod in mine if _over(pod)]
    least = int(spec.get("minReadySeconds") or 0)
    seen = [available(pod, least, now) for pod in running]
    status: Json = {
        "replicas": len(running),
        "fullyLabeledReplicas": len(running),
        "readyReplicas": sum(ready_since(pod) is not None for pod in running),
        "availableReplicas": sum(found for found, _ in seen),
        "observedGeneration": one["metadata"].get("generation", 1),
    }
    return Plan(tuple(steps), status, earliest(*(at for _, at in seen)))


def _over(pod: Json) -> bool:
    return not active(pod) and not pod["metadata"].get("deletionTimestamp")


def _worth(pod: Json) -> tuple[bool, bool, float]:
    """The order in which pods go: who has no cell yet, then who is not ready, then who came last."""
    since = ready_since(pod)
    assigned = bool(pod["spec"].get("nodeName"))
    return assigned, since is not None, -(since or 0.0)
