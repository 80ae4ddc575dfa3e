"""Token buckets under EC2's limits, so that a call waits here instead of being refused there. Pure.

They begin with the documented limits, or with those that the settings say the account has, and learn: a refusal slows
one down, calls that waited and passed make it faster by and by, up to a few times its limit. So what others draw from
the same buckets is left to them, and a raised limit that nobody told of is found.

Source: "Request throttling for the Amazon EC2 API": burst and refill per second by API action, and for launches and
ends also by resource. They are per account and region: others may draw on them too, so a refusal empties ours.
CreateFleet is not listed apart: a mutating action whose instances, by the stricter reading, draw on those of
RunInstances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from cellwire.faults import Fault, Kind

# Refill a little slower than documented: our clock and theirs see a call at different moments.
SHARE = 0.9
# Of what a refusal leaves, and what a call adds that had to wait and passed; within these.
_CUT, _STEP = 0.7, 0.01
_SLOWEST, _FASTEST = 0.1, 4.0
# Refusals of one moment are one: all of them were sent at the same pace.
_ONE_MOMENT = 2.0
# Near a pace that was refused is not come again for so long: each try costs a refusal, which a burst has put off.
_REFUSED_FOR, _NEAR = 3600.0, 0.9


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


def raised(said: Iterable[str]) -> dict[str, Limit]:
    """Limits of an account's own, of words as "RunInstances=100/20" (calls: burst and refill per second) and
    "RunInstances resources=5000/10" (instances). Raises Fault INVALID.
    """
    found: dict[str, Limit] = {}
    for words in said:
        name, _, numbers = words.partition("=")
        burst, _, refill = numbers.partition("/")
        try:
            limit = Limit(float(burst), float(refill))
        except ValueError:
            limit = Limit(0, 0)
        if not name.strip() or not (0 < limit.burst < float("inf") and 0 < limit.refill < float("inf")):
            mend = 'write ACTION=BURST/REFILL, as "RunInstances=100/20" or "RunInstances resources=5000/10"'
            raise Fault(Kind.INVALID, f"cloud.ec2.api_limits {words!r}", "it is no limit", mend)
        found[name.strip()] = limit
    return found


def draws(
    service: str,
    action: str,
    parameters: Mapping[str, object],
    resources: int,
    limits: Mapping[str, Limit] | None = None,
) -> tuple[Draw, ...]:
    """What a call draws. `limits` are the account's own (`raised`)."""
    own = limits or {}
    if service != "ec2":
        bucket = f"{service} {action}"
        return (Draw(bucket, own.get(bucket) or _SERVICES.get(bucket, OTHER_SERVICE), 1),)
    found = [_request(action, parameters, own)]
    if action in _RESOURCES:
        name, limit = _RESOURCES[action]
        sharers = (f"{each} resources" for each, (its, _) in _RESOURCES.items() if its == name)
        limit = next((own[each] for each in sharers if each in own), limit)
        found.append(Draw(f"{name} resources", limit, min(resources, limit.burst)))
    return tuple(found)


def _request(action: str, parameters: Mapping[str, object], own: Mapping[str, Limit]) -> Draw:
    if action in _REQUESTS:
        return Draw(action, own.get(action) or _REQUESTS[action], 1)
    if not action.startswith(_READING):
        return Draw(action, own.get(action) or MUTATING, 1)
    narrowed = {"MaxResults", "Filters"} & parameters.keys()
    name, limit = (f"{action} narrowed", NARROWED) if narrowed else (f"{action} broad", BROAD)
    return Draw(name, own.get(action) or limit, 1)


@dataclass(slots=True)
class _Bucket:
    limit: Limit
    tokens: float
    at: float
    pace: float = SHARE
    """Of the limit's refill."""
    refused_at: float = float("-inf")
    refused_pace: float = float("inf")

    @property
    def rate(self) -> float:
        return self.limit.refill * self.pace

    def refill(self, now: float) -> None:
        self.tokens = min(self.limit.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = max(self.at, now)

    def refused(self, now: float) -> None:
        self.tokens = min(self.tokens, 0.0)
        if now - self.refused_at >= _ONE_MOMENT:
            self.refused_pace = self.pace
            self.pace = max(_SLOWEST, self.pace * _CUT)
        self.refused_at = now

    def passed(self, now: float) -> None:
        known = self.refused_pace * _NEAR if now - self.refused_at < _REFUSED_FOR else _FASTEST
        # Back to what is documented it may always come: what refused us may have been another's burst.
        self.pace = min(self.pace + _STEP, max(self.pace, min(known, _FASTEST), SHARE))


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
            wait = max(wait, -bucket.tokens / bucket.rate)
        return wait

    def give_back(self, wanted: tuple[Draw, ...], now: float) -> None:
        """The call was not made after all."""
        for draw in wanted:
            bucket = self._of(draw, now)
            bucket.tokens = min(bucket.limit.burst, bucket.tokens + draw.tokens)

    def refused(self, wanted: tuple[Draw, ...], now: float) -> None:
        """EC2 refused for want of tokens: there are none, whatever was counted here, and they come more slowly than was
        thought. Mostly it is requests that are refused (the first draw): those of resources take minutes to fill.
        """
        self._of(wanted[0], now).refused(now)

    def passed(self, wanted: tuple[Draw, ...], now: float) -> None:
        """A call that had to wait was let through: those of its buckets that are empty may fill a little faster."""
        for draw in wanted:
            bucket = self._of(draw, now)
            if bucket.tokens <= draw.tokens:
                bucket.passed(now)

    def _of(self, draw: Draw, now: float) -> _Bucket:
        bucket = self._open.setdefault(draw.bucket, _Bucket(draw.limit, draw.limit.burst, now))
        bucket.refill(now)
        return bucket
