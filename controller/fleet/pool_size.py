"""How many warm cells pay: the stock to hold for a forecast, and how eagerly, learnt from hits and misses. Pure.

With a stock of n that is refilled one for one, a pod finds a warm cell if fewer than n others came while one boots.
So the n-th cell brings so many hits per second, and idles for so much of the time; it is held if that many hits are
worth that much idling. The exchange rate, `patience`, is the idle seconds paid for one more hit. It rises with each
miss and falls with each hit, by steps whose balance is at the wanted share of hits.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log

from controller.fleet.pool_forecast import Forecast

FIRST_PATIENCE = 900.0
LEAST_PATIENCE = 10.0
MOST_PATIENCE = 43_200.0
STEP = 0.3
# A cell is let go only when it is worth so much less than one that would be requested: otherwise the pool would flap.
KEEP = 0.5


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
