"""EC2's documented request and resource token buckets, per account, region and action. Pure: takes `now`.

Source: the EC2 API throttling page. CreateFleet is not listed apart there, so it is a mutating action like any other;
whether its instances draw on RunInstances' resource bucket is not stated, so here they do: the stricter reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

READING = ("Describe", "Get", "List", "Search")
LIMITS: dict[str, tuple[float, float]] = {  # bucket: burst, refill per second
    "RunInstances": (5, 2),
    "StartInstances": (5, 2),
    "TerminateInstances": (100, 5),
    "StopInstances": (50, 5),
    "CreateTags": (100, 10),
    "CreateNetworkInterface": (100, 5),
    "CreateVolume": (100, 5),
    "RequestSpotInstances": (50, 5),
    "launched resources": (1000, 2),
    "started resources": (1000, 2),
    "ended resources": (1000, 20),
}
MUTATING = (50.0, 5.0)
NARROWED = (100.0, 20.0)  # Describe* with a filter, ids or pages
BROAD = (50.0, 10.0)  # Describe* with none of them
_UNCONDITIONAL = frozenset({"MaxResults", "Filters", "NextToken"})


@dataclass
class _CallBucket:
    burst: float
    refill: float
    tokens: float
    at: float

    def take(self, count: float, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.refill)
        self.at = now
        if self.tokens < count:
            return False
        self.tokens -= count
        return True


@dataclass
class CallBuckets:
    """All buckets of one account in one region. `refused` counts, by bucket, what did not fit."""

    limits: dict[str, tuple[float, float]] = field(default_factory=lambda: dict(LIMITS))
    refused: Counter[str] = field(default_factory=Counter[str])
    _open: dict[str, _CallBucket] = field(default_factory=dict[str, _CallBucket])

    def take(self, action: str, parameters: Mapping[str, Any], now: float) -> str:
        """Take what this call needs. Returns the name of the bucket that lacked it, or "" when all had it."""
        name, burst, refill = _request_bucket(action, parameters, self.limits)
        if not self._bucket(name, burst, refill, now).take(1, now):
            self.refused[name] += 1
            return name
        resources, count = resource_bucket(action, parameters)
        if resources and not self._bucket(resources, *self.limits[resources], now).take(count, now):
            self.refused[resources] += 1
            return resources
        return ""

    def _bucket(self, name: str, burst: float, refill: float, now: float) -> _CallBucket:
        return self._open.setdefault(name, _CallBucket(burst, refill, burst, now))


def _request_bucket(
    action: str, parameters: Mapping[str, Any], limits: Mapping[str, tuple[float, float]]
) -> tuple[str, float, float]:
    if action in limits:
        return action, *limits[action]
    if not action.startswith(READING):
        return action, *MUTATING
    narrowed = _UNCONDITIONAL & parameters.keys() or any(isinstance(value, list) for value in parameters.values())
    return (f"{action} narrowed", *NARROWED) if narrowed else (f"{action} broad", *BROAD)


def resource_bucket(action: str, parameters: Mapping[str, Any]) -> tuple[str, int]:
    """The resource bucket that a call draws on ("" for none), and how many tokens."""
    match action:
        case "RunInstances":
            return "launched resources", int(parameters.get("MaxCount", 1))
        case "CreateFleet":
            wanted = parameters.get("TargetCapacitySpecification", {})
            return "launched resources", int(wanted.get("TotalTargetCapacity", 1))
        case "StartInstances":
            return "started resources", len(parameters.get("InstanceIds", ()))
        case "TerminateInstances" | "StopInstances":
            return "ended resources", len(parameters.get("InstanceIds", ()))
        case _:
            return "", 0
