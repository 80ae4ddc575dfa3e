"""What a test has EC2 do wrong: capacity, limits, rights, throttling, silence and lost answers. Values, no I/O."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

CAPACITY = "InsufficientInstanceCapacity"
ANY = "*"
_STATUS = {
    "RequestLimitExceeded": 503,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
    "DryRunOperation": 412,
}
_WORDS = {
    "RequestLimitExceeded": "Request limit exceeded.",
    "UnauthorizedOperation": "You are not authorized to perform this operation.",
    "InsufficientInstanceCapacity": "We currently do not have sufficient capacity for what you requested.",
    "InstanceLimitExceeded": "You have requested more instances than your current instance limit allows.",
    "VcpuLimitExceeded": "You have requested more vCPU capacity than your current limit allows.",
    "SpotMaxPriceTooLow": "Your Spot request price is lower than the minimum required Spot request fulfillment price.",
    "MaxTemplateLimitExceeded": "You have reached the maximum number of launch templates.",
    "DryRunOperation": "Request would have succeeded, but DryRun flag is set.",
    "IdempotentParameterMismatch": "Arguments on this idempotent request are inconsistent with those of the first.",
}


class Ec2Error(Exception):
    """An answer with one of EC2's error codes."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.message = message or _WORDS.get(code, f"{code}, as the test asked for.")
        self.status = _STATUS.get(code, 400)


@dataclass
class CapacityPool:
    """What is left of some offers, and the code with which the rest is refused."""

    type: str
    zone: str
    market: str
    left: int
    code: str

    def matches(self, type_: str, zone: str, market: str) -> bool:
        pairs = ((self.type, type_), (self.zone, zone), (self.market, market))
        return all(ours in (ANY, theirs) for ours, theirs in pairs)


@dataclass
class InjectedRules:
    """Injected behaviour. `market` is "on-demand" or "spot"; "*" stands for any type, zone or market."""

    pools: list[CapacityPool] = field(default_factory=list[CapacityPool])
    metadata_tags: str = "enabled"
    """The account's default for tags in instance metadata, which a launch that does not say goes by."""
    quotas: dict[str, float] = field(default_factory=lambda: {"L-1216C47A": 5.0, "L-34B43A08": 5.0})
    """vCPUs that the account may have, by the quota's code; of others none."""
    spot_usd: float = 0.0
    """What spot capacity costs now, whatever its type."""
    outage: set[str] = field(default_factory=set[str])
    """Zones whose instances nobody can list: EC2 then fails each list that is not of ids in other zones."""
    reservations: dict[str, tuple[str, str, str]] = field(default_factory=dict[str, tuple[str, str, str]])
    """Type, zone and state of each capacity reservation, by its id: moto has none."""
    failing_market: tuple[str, str, bool] = ("", "", False)
    """Launches in this market are answered with this error; whether they are carried out all the same."""
    _failures: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    _hung: set[str] = field(default_factory=set[str])
    _lost: dict[str, int] = field(default_factory=dict[str, int])
    _silent: set[str] = field(default_factory=set[str])
    _held: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])

    def limit(
        self, type_: str = ANY, zone: str = ANY, market: str = ANY, *, left: int = 0, code: str = CAPACITY
    ) -> None:
        """From now on these offers have `left` instances together; more is refused with `code`."""
        self.pools.append(CapacityPool(type_, zone, market, left, code))

    def fail(self, action: str, code: str, times: int = 1_000_000) -> None:
        """Answer the next `times` calls of this action with this error."""
        self._failures[action] = (code, times)

    def fail_market(self, market: str, code: str, *, carried_out: bool = False) -> None:
        """From now on answer launches in this market with this error, whether or not they are carried out."""
        self.failing_market = (market, code, carried_out)

    def hang(self, *actions: str) -> None:
        """Never answer these actions, and do not carry them out."""
        self._hung.update(actions)

    def lose(self, action: str, times: int = 1) -> None:
        """Carry the next `times` calls out and close the connection without an answer."""
        self._lost[action] = times

    def silence_repeats(self, *actions: str) -> None:
        """Answer calls of these actions that repeat an earlier one without telling what that did."""
        self._silent.update(actions)

    def hold(self, action: str) -> asyncio.Event:
        """Carry calls of this action out and answer them only once the event that is returned is set."""
        return self._held.setdefault(action, asyncio.Event())

    def heal(self) -> None:
        """Everything works again."""
        self.pools.clear()
        self.outage.clear()
        self.spot_usd = 0.0
        self.failing_market = ("", "", False)
        self._failures.clear()
        self._hung.clear()
        self._lost.clear()
        self._silent.clear()
        for held in self._held.values():
            held.set()
        self._held.clear()

    def hangs(self, action: str) -> bool:
        return action in self._hung

    def silent(self, action: str) -> bool:
        return action in self._silent

    def failure(self, action: str) -> Ec2Error | None:
        """The error of this call, used up."""
        code, times = self._failures.get(action, ("", 0))
        if times <= 0:
            return None
        self._failures[action] = (code, times - 1)
        return Ec2Error(code)

    def loses(self, action: str) -> bool:
        """Whether this call's answer gets lost, used up."""
        left = self._lost.get(action, 0)
        self._lost[action] = max(0, left - 1)
        return left > 0

    async def answerable(self, action: str) -> None:
        """Wait until answers to this action are let through."""
        if held := self._held.get(action):
            await held.wait()

    def grant(self, type_: str, zone: str, market: str, wanted: int, least: int = 0) -> tuple[int, str]:
        """How many instances of `wanted` there are, taken; and the code with which the others are refused.

        Where there are fewer than `least`, none is taken.
        """
        pools = [pool for pool in self.pools if pool.matches(type_, zone, market)]
        tightest = min(pools, key=lambda pool: pool.left, default=None)
        granted = wanted if tightest is None else min(wanted, tightest.left)
        code = tightest.code if tightest is not None and granted < wanted else ""
        if granted < least:
            return 0, code
        for pool in pools:
            pool.left -= granted
        return granted, code
