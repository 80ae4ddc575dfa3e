"""How many warm cells pay: the stock to hold for a forecast, and how eagerly, learnt from hits and misses. Pure.

With a stock of n that is refilled one for one, a pod finds a warm cell if fewer than n others came while one boots.
So the n-th cell brings so many hits per second, and idles for so much of the time; it is held if that many hits are
worth that much idling. The exchange rate, `patience`, is the idle seconds paid for one more hit. It rises with each
miss and falls with each hit, by steps whose balance is at the wanted share of hits.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log

import msgspec

from controller.fleet.pool.forecast import ArrivalHistory, Forecast, advanced, arrived, forecast
from controller.fleet.pool.warm_cells import Class

FIRST_PATIENCE = 900.0
LEAST_PATIENCE = 10.0
MOST_PATIENCE = 43_200.0
STEP = 0.08
# A quarter of the surplus goes at a time, and nothing sooner than this after it was last of use.
RELEASE_SECONDS = 30.0
# A cell is let go only when it is worth so much less than one that would be requested: else the pool would flap.
KEEP = 0.25


def hits_per_idle_second(forecast: Forecast, most: int) -> Iterator[float]:
    """For the first, second … cell of a stock, the hits that it adds per second that it idles; falling.

    Arrivals while a cell boots are negative binomial with that mean and dispersion (Poisson where that is 0). `share`
    is P(n - 1 arrivals) / P(fewer than n), kept as a ratio so that nothing underflows.
    """
    spread = forecast.dispersion
    mean = forecast.rate * forecast.boot
    share, least = 1.0, float("inf")
    for others in range(most):
        if others:
            share *= (mean + spread * (others - 1)) / ((1 + spread) * others)
            share /= 1 + share
        # An arrival sees more arrivals beside it than a clock does: they come together.
        least = min(least, (mean + spread * others) / ((1 + spread) * forecast.boot) * share)
        yield least


def worthwhile(forecast: Forecast, patience: float, most: int) -> int:
    """The largest stock whose every cell is worth its idling."""
    held = 0
    for worth in hits_per_idle_second(forecast, most):
        if worth * patience < 1:
            break
        held += 1
    return held


def patience_after(patience: float, target_hit: float, *, hit: bool) -> float:
    """Patience after one arrival: steady where `target_hit` of the arrivals are hits."""
    step = STEP * ((1.0 if hit else 0.0) - target_hit)
    return exp(min(max(log(patience) - step, log(LEAST_PATIENCE)), log(MOST_PATIENCE)))


class Learnt(msgspec.Struct, frozen=True):
    """The memory of one class, as stored."""

    history: ArrivalHistory = ArrivalHistory()
    patience: float = FIRST_PATIENCE


class StockTarget(msgspec.Struct, frozen=True):
    """Cells of one class to request up to and to keep up to, and the hits per idle second that each adds."""

    want: int
    keep: int
    worth: tuple[float, ...]


def stock(learnt: Learnt, each: Class, now: float) -> StockTarget:
    """The stock that a class should have now: never below its `count`, never above its `most`."""
    ahead = forecast(learnt.history, now)
    most = max(each.most, each.count)
    want = max(worthwhile(ahead, learnt.patience, most), each.count)
    keep = max(worthwhile(ahead, learnt.patience / KEEP, most), want)
    return StockTarget(want, keep, tuple(hits_per_idle_second(ahead, keep)))


def looked(learnt: Learnt, now: float) -> Learnt:
    """What is known after a look at the clock: that nobody came since the last is knowledge, too."""
    return Learnt(advanced(learnt.history, now), learnt.patience)


def came(learnt: Learnt, target_hit: float, now: float, *, hit: bool, helpless: bool = False) -> Learnt:
    """What is known after a pod came. `helpless`: more patience would not have brought it a cell."""
    patience = learnt.patience
    if hit or not helpless:
        patience = patience_after(patience, target_hit, hit=hit)
    return Learnt(arrived(learnt.history, now), patience)


def release(beyond: int, after: float, now: float) -> tuple[int, float]:
    """How many of the surplus may go now, and the time before which no more may."""
    if beyond > 0 and now < after:
        return 0, after
    return (max(beyond // 4, 1) if beyond > 0 else 0), now + RELEASE_SECONDS
