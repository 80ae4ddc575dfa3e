"""What warm cells cost and save: no pool, fixed pools, the adaptive one, and perfect foresight, on a week of arrivals.

A simulation by events of two seconds (the controller's own pass) around the real deciding code. Cost is what is paid
for instances beyond the pods' own time: booting, idling, and EC2's least of 60 s for those let go; a cell that boots
while its pod waits is paid in every policy. No trace was used for tuning with the seed that is used here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Protocol

from controller.fleet.pool.forecast import booted
from controller.fleet.pool.stock_size import Learnt, came, looked, release, stock
from controller.fleet.pool.warm_cells import Class
from controller.model.offer import Demand

SEED = 20_261_124
DAYS, DAY, HOUR = 7, 86_400, 3600.0
TICK = 2.0
# Seconds from request to ready: log-normal, median 25, 95 % within 41 (a small image in EC2; a stated guess).
BOOT_MEDIAN, BOOT_SIGMA = 25.0, 0.3
USD_PER_HOUR = 0.10
LEAST_BILLED = 60.0
MOST = 200
TARGET_HIT = 0.95


def arrivals(chance: random.Random, per_hour: Callable[[float], float], top: float) -> Iterator[float]:
    """A Poisson process of that rate; `top` is its highest."""
    at = 0.0
    while (at := at + chance.expovariate(top / HOUR)) < DAYS * DAY:
        if chance.random() < per_hour(at) / top:
            yield at


def office(at: float) -> float:
    """The shape of a working day, two humps, 1.7 at most; a quarter of it on the last two days."""
    hour = at % DAY / HOUR
    shape = 0.08 + exp(-(((hour - 11) / 2.2) ** 2)) + 0.9 * exp(-(((hour - 15.5) / 2.2) ** 2))
    return shape * (0.25 if int(at // DAY) % 7 >= 5 else 1.0)


def in_bursts(chance: random.Random, starts: Iterator[float]) -> list[float]:
    """Fan-outs: about twelve pods, exponentially many, within a minute of each start."""
    return [at + chance.uniform(0, 60) for at in starts for _ in range(1 + int(chance.expovariate(1 / 11)))]


def traces() -> dict[str, list[float]]:
    """Arrival times in seconds, by the name of their shape."""
    chance = random.Random(SEED)
    return {
        "steady": sorted(arrivals(chance, lambda _: 60, 60)),
        "daily": sorted(arrivals(chance, lambda at: 120 * office(at), 210)),
        "bursts": sorted(
            [*arrivals(chance, lambda _: 4, 4), *in_bursts(chance, arrivals(chance, lambda _: 2, 2))]
        ),
        "builds": sorted(
            [
                *arrivals(chance, lambda at: 4 * office(at), 7),
                *in_bursts(chance, arrivals(chance, lambda at: 6 * office(at), 11)),
            ]
        ),
    }  # fmt: skip


class PoolPolicy(Protocol):
    """How many warm cells to have."""

    def came(self, now: float, *, hit: bool) -> None:
        """A pod came."""
        ...

    def booted(self, seconds: float) -> None:
        """A cell became ready."""
        ...

    def wanted(self, have: int, now: float) -> tuple[int, int]:
        """Up to how many to request, and how many to let go."""
        ...


class Fixed:
    """Always so many."""

    def __init__(self, count: int) -> None:
        self._count = count

    def came(self, now: float, *, hit: bool) -> None:
        pass

    def booted(self, seconds: float) -> None:
        pass

    def wanted(self, have: int, now: float) -> tuple[int, int]:
        return self._count, 0


class Adaptive:
    """The controller's own."""

    def __init__(self) -> None:
        self._of = Class(
            name="bench", demand=Demand(cpu_millis=1000, memory_mib=1000), most=MOST, target_hit=TARGET_HIT
        )
        self._learnt = Learnt()
        self._release_after = 0.0

    def came(self, now: float, *, hit: bool) -> None:
        self._learnt = came(self._learnt, TARGET_HIT, now, hit=hit)

    def booted(self, seconds: float) -> None:
        self._learnt = Learnt(booted(self._learnt.history, seconds), self._learnt.patience)

    def wanted(self, have: int, now: float) -> tuple[int, int]:
        self._learnt = looked(self._learnt, now)
        found = stock(self._learnt, self._of, now)
        may_go, self._release_after = release(have - found.keep, self._release_after, now)
        return found.want, may_go


@dataclass
class Result:
    """Waits in seconds, sorted; instance seconds paid beyond the pods' own."""

    waits: list[float] = field(default_factory=list)
    paid: float = 0.0
    launches: int = 0

    def wait(self, share: float) -> float:
        return self.waits[min(int(len(self.waits) * share), len(self.waits) - 1)]

    @property
    def usd(self) -> float:
        return self.paid / HOUR * USD_PER_HOUR

    @property
    def hits(self) -> float:
        return sum(each == 0 for each in self.waits) / len(self.waits)


def boot(chance: random.Random) -> float:
    return BOOT_MEDIAN * exp(chance.gauss(0, BOOT_SIGMA))


def simulate(trace: Sequence[float], policy: PoolPolicy) -> Result:
    """A week; a warm cell is (when it is ready, when it was requested)."""
    chance = random.Random(SEED + 1)
    found = Result()
    warm: list[tuple[float, float]] = []
    coming = 0
    for tick in range(1, int(DAYS * DAY / TICK) + 1):
        now = tick * TICK
        while coming < len(trace) and trace[coming] < now:
            serve(trace[coming], warm, policy, found, chance)
            coming += 1
        want, may_go = policy.wanted(len(warm), now)
        for _ in range(want - len(warm)):
            took = boot(chance)
            warm.append((now + took, now))
            found.launches += 1
            policy.booted(took)
        for _ in range(may_go):
            latest = max(warm)
            warm.remove(latest)
            found.paid += max(now - latest[1], LEAST_BILLED)
    found.paid += sum(DAYS * DAY - requested for _, requested in warm)
    found.waits.sort()
    return found


def serve(at: float, warm: list[tuple[float, float]], policy: PoolPolicy, found: Result, chance: random.Random) -> None:
    """A pod takes the oldest ready cell, else the one that is ready first, else a fresh one."""
    ready = [each for each in warm if each[0] <= at]
    if not warm:
        took = boot(chance)
        found.launches += 1
        found.waits.append(took)
        found.paid += took
    else:
        cell = min(ready, key=lambda each: each[1]) if ready else min(warm)
        warm.remove(cell)
        found.waits.append(max(cell[0] - at, 0.0))
        found.paid += max(cell[0], at) - cell[1]
    policy.came(at, hit=bool(ready))


def foreseen(trace: Sequence[float]) -> Result:
    """Each cell is requested just in time."""
    chance = random.Random(SEED + 1)
    return Result([0.0] * len(trace), sum(boot(chance) for _ in trace), len(trace))


def best_fixed(trace: Sequence[float], p95: float) -> tuple[int, Result]:
    """The smallest fixed pool whose 95th percentile of waits is as good."""
    low, high = 0, MOST
    while low < high:
        middle = (low + high) // 2
        if simulate(trace, Fixed(middle)).wait(0.95) <= p95:
            high = middle
        else:
            low = middle + 1
    return low, simulate(trace, Fixed(low))


def show(trace: str, policy: str, result: Result) -> None:
    print(
        f"{trace:<8}{policy:<14}{result.wait(0.5):>8.1f}{result.wait(0.95):>8.1f}{result.hits:>8.1%}"
        f"{result.usd:>10.2f}{result.launches:>10}"
    )


def main() -> None:
    print(f"{DAYS} days, boot log-normal: median {BOOT_MEDIAN:.0f} s, sigma {BOOT_SIGMA}; {USD_PER_HOUR} USD/h a cell")
    print("USD: paid beyond the pods' own time, boots of pods that wait included")
    print(f"{'trace':<8}{'policy':<14}{'p50 s':>8}{'p95 s':>8}{'hits':>8}{'USD':>10}{'launches':>10}")
    ours = theirs = 0.0
    for name, trace in traces().items():
        adaptive = simulate(trace, Adaptive())
        count, fixed = best_fixed(trace, adaptive.wait(0.95))
        show(name, "none", simulate(trace, Fixed(0)))
        show(name, "fixed 1", simulate(trace, Fixed(1)))
        show(name, f"fixed {count} (best)", fixed)
        show(name, "adaptive", adaptive)
        show(name, "foresight", foreseen(trace))
        print(f"{name:<8}{len(trace)} pods; adaptive / best fixed: {adaptive.usd / fixed.usd:.2f}")
        ours += adaptive.usd
        theirs += fixed.usd
    print("cost of the adaptive pool / of the smallest fixed pool with an equal or better p95, all traces together")
    print(f"ratio: {ours / theirs:.3f}")


if __name__ == "__main__":
    main()
