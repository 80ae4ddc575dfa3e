"""Daemon sets: a pod on each node, of which there is none. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from controller.objects.fields import Json
from controller.workloads.steps import Plan

_COUNTS = (
    *("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"),
    "updatedNumberScheduled",
)


def plan(one: Json, pods: Sequence[Json], now: float) -> Plan:
    """What to do for a daemon set: to say that no node is without its pod, so that whoever waits goes on."""
    del pods, now
    return Plan(status={**dict.fromkeys(_COUNTS, 0), "observedGeneration": one["metadata"].get("generation", 1)})
