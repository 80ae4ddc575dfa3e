"""How many pods will come while a warm cell boots: a forecast that learns from arrivals alone. Pure.

Time is cut into bins of one boot time. A bin's mean is the rate usual at that half hour of the day times how today
compares with the usual; what the last bin had beyond its mean is expected to go on as far as it used to; and by how
much bins differ from that is the dispersion, which is 0 where pods come independently of each other and about the size
of a burst where they come in bursts. See docs/pool.md.
"""

from __future__ import annotations

from math import exp

import msgspec

DAY = 86_400.0
BUCKETS = 48
BUCKET = DAY / BUCKETS
# Each half hour of the day remembers about its last four days.
PROFILE_MEMORY = 4 * BUCKET
LEVEL_MEMORY = 7_200.0
# Arrivals (bursts, where they come in bursts) before a half hour, or the last hours, are believed against the mean of
# the day; and seconds before that mean is.
PROFILE_PRIOR = 4.0
LEVEL_PRIOR = 4.0
DAY_PRIOR = 900.0
# Bins: bursts are rare, so what they are like must be remembered over many quiet ones.
SHAPE_MEMORY = 2_000.0
SHAPE_PRIOR = 5.0
MOST_PERSISTENCE = 0.9
# Before any boot was measured, and how many cells that guess is worth.
FIRST_BOOT = 45.0
BOOT_PRIOR = 2.0
BOOT_MEMORY = 20.0
SHORTEST_BIN = 1.0
# Who has not looked for so many bins was away: it does not know that nobody came.
AWAY_BINS = 20.0
EMPTY = (0.0,) * BUCKETS


class ArrivalHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The history of arrivals for one class. Sums decay; times in unix seconds.

    `opened` and `bin_seconds` are the open bin's, `count` its arrivals; `before` are the arrivals of the bin before.
    `came` of `watched` seconds are per half hour of the day; `level_came` of `level_usual` arrivals are of the last
    hours; `quiet` were usual since the last one came. `carried`/`excess` tell how far an excess goes on into the next
    bin, `squared`/`foreseen` how far bins differ from what was foreseen. `boots` measured boots took `booted` seconds.
    """

    opened: float = 0.0
    bin_seconds: float = FIRST_BOOT
    count: int = 0
    before: float = 0.0
    came: tuple[float, ...] = EMPTY
    watched: tuple[float, ...] = EMPTY
    level_came: float = 0.0
    level_usual: float = 0.0
    quiet: float = 0.0
    carried: float = 0.0
    excess: float = 0.0
    squared: float = 0.0
    foreseen: float = 0.0
    booted: float = 0.0
    boots: float = 0.0


class Forecast(msgspec.Struct, frozen=True):
    """Pods expected per second, seconds that a cell takes to boot, and by how much pods come together (0: not)."""

    rate: float
    boot: float
    dispersion: float


def boot_seconds(history: ArrivalHistory) -> float:
    """Mean seconds from request to ready."""
    return (history.booted + BOOT_PRIOR * FIRST_BOOT) / (history.boots + BOOT_PRIOR)


def booted(history: ArrivalHistory, seconds: float) -> ArrivalHistory:
    """A cell of the class was ready after so many seconds."""
    fade = 1 - 1 / BOOT_MEMORY
    return msgspec.structs.replace(
        history, booted=history.booted * fade + max(seconds, 0.0), boots=history.boots * fade + 1
    )


def arrived(history: ArrivalHistory, now: float) -> ArrivalHistory:
    """A pod came for which a cell of the class would have done."""
    history = advanced(history, now)
    return msgspec.structs.replace(history, count=history.count + 1)


def advanced(history: ArrivalHistory, now: float) -> ArrivalHistory:
    """The history at `now`: bins that are over are closed and learnt from."""
    behind = now - history.opened
    if not 0 <= behind <= AWAY_BINS * history.bin_seconds:
        return msgspec.structs.replace(
            history, opened=now, count=0, before=0.0, bin_seconds=max(boot_seconds(history), SHORTEST_BIN)
        )
    while now - history.opened >= history.bin_seconds:
        history = _closed(history)
    return history


def forecast(history: ArrivalHistory, now: float) -> Forecast:
    """What is expected of the time in which a cell that is requested now boots."""
    boot = boot_seconds(history)
    mean = _mean(history, now + boot / 2)
    passed = min(max((now - history.opened) / history.bin_seconds, 0.0), 1.0)
    recent = (history.count + history.before * (1 - passed)) / history.bin_seconds
    rate = mean + persistence(history) * (recent - mean)
    return Forecast(max(rate, 0.0), boot, dispersion(history))


def persistence(history: ArrivalHistory) -> float:
    """Which part of a bin's excess over its mean goes on into the next."""
    return min(max(history.carried / (history.excess + SHAPE_PRIOR), 0.0), MOST_PERSISTENCE)


def dispersion(history: ArrivalHistory) -> float:
    """Variance over mean of what could not be foreseen, less 1; 0 for independent arrivals."""
    return max((history.squared + SHAPE_PRIOR) / (history.foreseen + SHAPE_PRIOR) - 1, 0.0)


def _closed(history: ArrivalHistory) -> ArrivalHistory:
    seconds = history.bin_seconds
    middle = history.opened + seconds / 2
    usual = _usual(history, middle)
    mean = _mean(history, middle)
    last = history.before - mean * seconds
    foreseen = max(mean * seconds + persistence(history) * last, 0.0)
    excess = history.count - mean * seconds
    here = int(middle % DAY // BUCKET)
    profile_fade, level_fade = exp(-seconds / PROFILE_MEMORY), exp(-seconds / LEVEL_MEMORY)
    shape_fade = 1 - 1 / SHAPE_MEMORY
    return msgspec.structs.replace(
        history,
        opened=history.opened + seconds,
        bin_seconds=max(boot_seconds(history), SHORTEST_BIN),
        count=0,
        before=float(history.count),
        came=_put(history.came, here, history.came[here] * profile_fade + history.count),
        watched=_put(history.watched, here, history.watched[here] * profile_fade + seconds),
        level_came=history.level_came * level_fade + history.count,
        level_usual=history.level_usual * level_fade + usual * seconds,
        quiet=0.0 if history.count else history.quiet + usual * seconds,
        carried=history.carried * shape_fade + excess * last,
        excess=history.excess * shape_fade + last * last,
        squared=history.squared * shape_fade + (history.count - foreseen) ** 2,
        foreseen=history.foreseen * shape_fade + foreseen,
    )


def _put(values: tuple[float, ...], index: int, value: float) -> tuple[float, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _mean(history: ArrivalHistory, at: float) -> float:
    """Arrivals per second at that time: the usual, times how the last hours compare with it."""
    prior = LEVEL_PRIOR * (1 + dispersion(history))
    level = (history.level_came + prior) / (history.level_usual + prior)
    # Hours in which nobody came say little each; the longer the row of them, the surer that this day is no usual one.
    return _usual(history, at) * min(level, prior / (history.quiet + prior))


def _usual(history: ArrivalHistory, at: float) -> float:
    """Arrivals per second usual at that time of the day, between the middles of two half hours."""
    day = sum(history.came) / (sum(history.watched) + DAY_PRIOR)
    if not day:
        return 0.0
    prior = PROFILE_PRIOR * (1 + dispersion(history))
    place = at % DAY / BUCKET - 0.5
    left = int(place // 1)
    part = place - left
    ends = ((left, 1 - part), (left + 1, part))
    return sum(
        share * (history.came[index % BUCKETS] + prior) / (history.watched[index % BUCKETS] + prior / day)
        for index, share in ends
    )
