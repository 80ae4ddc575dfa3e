"""Token buckets under EC2's documented limits, so that a call waits here instead of being refused there. Pure.

Source: "Request throttling for the Amazon EC2 API": burst and refill per second by API action, and for launches and
ends also by resource. They are per account and region: others may draw on them too, so a refusal empties ours.
CreateFleet is not listed apart: a mutating action whose instances, by the stricter reading, draw on those of
RunInstances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

# Refill a little slower than documented: our clock and theirs see a call at different moments.
SHARE = 0.9


class Limit(msgspec.Struct, frozen=True):
    """Burst, and refill per second."""

    burst: float
    refill: float


MUTATING = Limit(50, 5)
NARROWED = Limit(100, 20)  # Describe* with a filter or pages
BROAD = Limit(50, 10)  # Describe* with neither
OTHER_SERVICE = Limit(20, 10)
# EBS direct APIs allow 1,000 a second, by "Amazon EBS endpoints and quotas".
_SERVICES = {"ebs PutSnapshotBlock": Limit(500, 500)}
_READING = ("Describe", "Get", "List", "Search")
_REQUESTS = {
    "RunInstances": Limit(5, 2),
    "StartInstances": Limit(5, 2),
    "TerminateInstances": Limit(100, 5),
    "CreateTags": Limit(100, 10),
    "CreateNetworkInterface": Limit(100, 5),
    "CreateVolume": Limit(100, 5),
}
_RESOURCES = {
    "RunInstances": ("launched", Limit(1000, 2)),
    "CreateFleet": ("launched", Limit(1000, 2)),
    "StartInstances": ("started", Limit(1000, 2)),
    "TerminateInstances": ("ended", Limit(1000, 20)),
    "StopInstances": ("ended", Limit(1000, 20)),
}


class Draw(msgspec.Struct, frozen=True):
    """So many tokens of a named bucket."""

    bucket: str
    limit: Limit
    tokens: float


def draws(service: str, action: str, parameters: Mapping[str, object], resources: int) -> tuple[Draw, ...]:
    """What a call draws."""
    if service != "ec2":
        bucket = f"{service} {action}"
        return (Draw(bucket, _SERVICES.get(bucket, OTHER_SERVICE), 1),)
    found = [_request(action, parameters)]
    if action in _RESOURCES:
        name, limit = _RESOURCES[action]
        found.append(Draw(f"{name} resources", limit, min(resources, limit.burst)))
    return tuple(found)


def _request(action: str, parameters: Mapping[str, object]) -> Draw:
    if action in _REQUESTS:
        return Draw(action, _REQUESTS[action], 1)
    if not action.startswith(_READING):
        return Draw(action, MUTATING, 1)
    narrowed = {"MaxResults", "Filters"} & parameters.keys()
    return Draw(f"{action} narrowed", NARROWED, 1) if narrowed else Draw(f"{action} broad", BROAD, 1)


@dataclass(slots=True)
class _Bucket:
    limit: Limit
    tokens: float
    at: float

    def refill(self, now: float) -> None:
        self.tokens = min(self.limit.burst, self.tokens + max(0.0, now - self.at) * self.limit.refill * SHARE)
        self.at = max(self.at, now)


@dataclass(slots=True)
class Buckets:
    """All buckets of one account and region. Times are seconds of any one steady clock."""

    _open: dict[str, _Bucket] = field(default_factory=dict[str, _Bucket])

    def take(self, wanted: tuple[Draw, ...], now: float) -> float:
        """Take tokens now and return the seconds to wait until they are there: who came first goes first."""
        wait = 0.0
        for draw in wanted:
            bucket = self._of(draw, now)
            bucket.tokens -= draw.tokens
            wait = max(wait, -bucket.tokens / (bucket.limit.refill * SHARE))
        return wait

    def give_back(self, wanted: tuple[Draw, ...], now: float) -> None:
        """The call was not made after all."""
        for draw in wanted:
            bucket = self._of(draw, now)
            bucket.tokens = min(bucket.limit.burst, bucket.tokens + draw.tokens)

    def empty(self, wanted: tuple[Draw, ...], now: float) -> None:
        """EC2 refused for want of tokens: there are none, whatever was counted here. Those of resources are left: they
        take minutes to fill, and mostly it is requests that are refused.
        """
        bucket = self._of(wanted[0], now)
        bucket.tokens = min(bucket.tokens, 0.0)

    def _of(self, draw: Draw, now: float) -> _Bucket:
        bucket = self._open.setdefault(draw.bucket, _Bucket(draw.limit, draw.limit.burst, now))
        bucket.refill(now)
        return bucket
