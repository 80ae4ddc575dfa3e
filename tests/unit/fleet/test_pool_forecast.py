"""What the pool expects of arrivals, and how much stock that is worth: on arrivals of known kinds."""

from __future__ import annotations

import random
from collections.abc import Iterable
from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.fleet.pool.forecast import (
    BUCKETS,
    ArrivalHistory,
    Forecast,
    advanced,
    arrived,
    boot_seconds,
    booted,
    dispersion,
    forecast,
)
from controller.fleet.pool.stock_size import (
    LEAST_PATIENCE,
    MOST_PATIENCE,
    Learnt,
    came,
    hits_per_idle_second,
    looked,
    patience_after,
    release,
    stock,
    worthwhile,
)
from controller.fleet.pool.warm_cells import Class
from controller.model.offer import Demand

HOUR = 3600.0
START = 1_700_006_400.0  # midnight, UTC


def lived(arrivals: Iterable[float], until: float, history: ArrivalHistory | None = None) -> ArrivalHistory:
    """The history after these arrivals (seconds after START), looked at every ten seconds."""
    history = history or advanced(ArrivalHistory(), START)
    coming = sorted(arrivals)
    looked = history.opened - START
    while looked < until:
        looked += 10.0
        while coming and coming[0] < looked:
            history = arrived(history, START + coming.pop(0))
        history = advanced(history, START + looked)
    return history


def poisson(rate: float, until: float, begin: float = 0.0, seed: int = 1) -> list[float]:
    chance, at, found = random.Random(seed), begin, list[float]()
    while (at := at + chance.expovariate(rate)) < until:
        found.append(at)
    return found


def pmf(mean: float, count: int) -> float:
    value = exp(-mean)
    for each in range(1, count + 1):
        value *= mean / each
    return value


def test_nobody_is_expected_before_anybody_came() -> None:
    assert forecast(lived([], HOUR), START + HOUR).rate == 0.0
    assert worthwhile(forecast(ArrivalHistory(), START), MOST_PATIENCE, 50) == 0


@pytest.mark.parametrize("per_hour", [20, 120, 1200])
def test_a_steady_rate_is_found_within_hours_and_seen_as_independent(per_hour: int) -> None:
    history = lived(poisson(per_hour / HOUR, 6 * HOUR), 6 * HOUR)
    ahead = forecast(history, START + 6 * HOUR)

    assert ahead.rate * HOUR == pytest.approx(per_hour, rel=0.35)
    assert ahead.dispersion < 0.6


def test_bursts_are_seen_as_bursts() -> None:
    history = lived([at + each for at in range(600, 36_000, 1800) for each in range(12)], 10 * HOUR)

    assert dispersion(history) > 3


def test_an_hour_of_the_day_that_was_busy_is_foreseen_the_next_day() -> None:
    busy = [at + day * 86_400 for day in range(3) for at in poisson(0.05, 11 * HOUR, 9 * HOUR, seed=day)]
    history = lived(busy, 3 * 86_400 + 8.5 * HOUR)
    night = forecast(lived(busy, 3 * 86_400 + 3 * HOUR), START + 3 * 86_400 + 3 * HOUR)
    ahead = forecast(history, START + 3 * 86_400 + 9.5 * HOUR)

    assert ahead.rate > 10 * night.rate


def test_who_was_away_does_not_believe_that_nobody_came() -> None:
    before = lived(poisson(0.05, 6 * HOUR), 6 * HOUR)
    after = advanced(before, START + 12 * HOUR)

    assert (after.came, after.watched) == (before.came, before.watched)
    assert forecast(after, START + 12 * HOUR).rate == pytest.approx(0.05, rel=0.4)


def test_a_clock_that_goes_back_does_no_harm() -> None:
    history = advanced(lived(poisson(0.05, HOUR), HOUR), START - 50)

    assert history.opened == START - 50


def test_boot_time_is_what_was_measured() -> None:
    history = ArrivalHistory()
    for _ in range(40):
        history = booted(history, 20.0)

    assert boot_seconds(history) == pytest.approx(20.0, rel=0.15)
    assert boot_seconds(booted(ArrivalHistory(), -5.0)) > 0


@given(gaps=st.lists(st.floats(0, 5000), max_size=60), boots=st.lists(st.floats(0, 900), max_size=10))
def test_no_arrivals_make_a_forecast_that_is_not_a_finite_number_above_zero(
    gaps: list[float], boots: list[float]
) -> None:
    history, now = ArrivalHistory(), START
    for each in boots:
        history = booted(history, each)
    for gap in gaps:
        now += gap
        history = arrived(history, now)
    ahead = forecast(history, now)

    assert 0 <= ahead.rate < 1e6
    assert 0 < ahead.boot < 1000
    assert 0 <= ahead.dispersion < 1e6
    assert len(history.came) == len(history.watched) == BUCKETS


@given(rate=st.floats(1e-4, 0.2), boot=st.floats(1, 120))
def test_without_bursts_the_worth_of_a_cell_is_that_of_a_poisson_process(rate: float, boot: float) -> None:
    found = list(hits_per_idle_second(Forecast(rate, boot, 0.0), 8))
    mean = rate * boot
    known = [rate * pmf(mean, n) / sum(pmf(mean, each) for each in range(n + 1)) for n in range(8)]

    assert found == pytest.approx(known, rel=1e-6)


FORECASTS = st.builds(Forecast, st.floats(0, 50), st.floats(0.5, 1000), st.floats(0, 100))


@given(ahead=FORECASTS, most=st.integers(0, 200), patience=st.floats(LEAST_PATIENCE, MOST_PATIENCE))
def test_stock_is_never_negative_nor_above_the_most_and_grows_with_patience(
    ahead: Forecast, most: int, patience: float
) -> None:
    worth = list(hits_per_idle_second(ahead, most))

    assert worth == sorted(worth, reverse=True)
    assert 0 <= worthwhile(ahead, patience, most) <= worthwhile(ahead, patience * 4, most) <= most


@given(hits=st.lists(st.booleans(), max_size=300), target=st.floats(0.01, 0.99))
def test_patience_stays_within_its_limits(hits: list[bool], target: float) -> None:
    patience = 900.0
    for hit in hits:
        after = patience_after(patience, target, hit=hit)
        assert after <= patience if hit else after >= patience
        patience = after
    assert LEAST_PATIENCE * 0.999 <= patience <= MOST_PATIENCE * 1.001


@settings(deadline=None, max_examples=8)
@given(per_hour=st.sampled_from([30, 90, 400]), seed=st.integers(0, 13))
def test_without_arrivals_the_stock_goes_to_nothing_within_two_days(per_hour: int, seed: int) -> None:
    history = lived(poisson(per_hour / HOUR, 4 * HOUR, seed=seed), 4 * HOUR)
    assert worthwhile(forecast(history, START + 4 * HOUR), 900.0, 50) >= 1
    history = lived([], 52 * HOUR, history)

    assert worthwhile(forecast(history, START + 52 * HOUR), 900.0, 50) == 0


WEB = Class(name="web", demand=Demand(cpu_millis=1, memory_mib=1), most=20)


def kept(learnt: Learnt, arrivals: list[float], begin: float, until: float) -> tuple[Learnt, list[int], list[bool]]:
    """A pool kept by the rules alone, each boot 30 s: what it learnt, its stock minute by minute, hits."""
    ready: list[float] = []
    stocks, hits, after, now = list[int](), list[bool](), 0.0, begin
    while now < until:
        now += 10.0
        while arrivals and arrivals[0] < now:
            at = arrivals.pop(0)
            hits.append(bool(ready) and ready[0] <= at)
            ready = ready[1:]
            learnt = came(learnt, WEB.target_hit, START + at, hit=hits[-1])
        learnt = looked(learnt, START + now)
        found = stock(learnt, WEB, START + now)
        for _ in range(found.want - len(ready)):
            ready.append(now + 30.0)
            learnt = Learnt(booted(learnt.history, 30.0), learnt.patience)
        may_go, after = release(len(ready) - found.keep, after, now)
        ready = sorted(ready)[: len(ready) - may_go]
        if now % 60 < 10:
            stocks.append(len(ready))
    return learnt, stocks, hits


@settings(deadline=None, max_examples=3)
@given(per_hour=st.sampled_from([40, 120, 300]), seed=st.integers(0, 13))
def test_on_steady_arrivals_the_pool_settles_at_the_wanted_share_of_hits_and_without_them_at_nothing(
    per_hour: int, seed: int
) -> None:
    arrivals = poisson(per_hour / HOUR, 16 * HOUR, seed=seed)
    learnt, _, _ = kept(Learnt(), [at for at in arrivals if at < 8 * HOUR], 0, 8 * HOUR)
    learnt, stocks, hits = kept(learnt, [at for at in arrivals if at >= 8 * HOUR], 8 * HOUR, 16 * HOUR)
    assert 0.88 <= sum(hits) / len(hits) <= 0.99
    assert max(stocks) <= 8 + per_hour / HOUR * 30 * 4
    assert min(stocks) >= 0

    _, stocks, _ = kept(learnt, [], 16 * HOUR, 64 * HOUR)
    assert stocks[-1] == 0
    assert all(0 <= each <= WEB.most for each in stocks)


@given(beyond=st.integers(-5, 60), after=st.floats(0, 100), now=st.floats(0, 200))
def test_surplus_goes_slowly(beyond: int, after: float, now: float) -> None:
    count, then = release(beyond, after, now)

    assert 0 <= count <= max(beyond, 0)
    assert count <= max(beyond / 4, 1)
    assert not count or (now >= after and release(beyond, then, now)[0] == 0)


def test_a_pool_that_may_not_grow_does_not_grow_impatient() -> None:
    learnt = Learnt()

    assert came(learnt, 0.95, START, hit=False, helpless=True).patience == learnt.patience
    assert came(learnt, 0.95, START, hit=False).patience > learnt.patience
