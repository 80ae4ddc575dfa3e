"""The more cells, the less often each is heard; no lease is shorter than what its cell was told, whatever cells do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.fleet.plan import FleetLimits
from controller.fleet.rhythm import (
    BEATS_A_SECOND,
    DIALS_A_SECOND,
    LONGEST_SECONDS,
    LONGEST_WINDOW,
    SHORTEST_WINDOW,
    STEP,
    Rhythm,
    after,
    interval,
    redial_window,
    stretched,
)

LIMITS = FleetLimits()


@pytest.mark.parametrize(("cells", "seconds"), [(0, 5.0), (2000, 5.0), (2001, 6.25), (10_000, 29.8), (100_000, 30.0)])
def test_the_interval_grows_beyond_two_thousand_cells_and_not_beyond_its_bound(cells: int, seconds: float) -> None:
    assert interval(cells, LIMITS.heartbeat) == pytest.approx(seconds, abs=0.01)


@given(st.integers(0, 50_000), st.floats(0.05, 120))
def test_no_more_heartbeats_come_than_a_controller_can_hear_unless_each_is_at_its_bound(
    cells: int, base: float
) -> None:
    found = interval(cells, base)
    assert base <= found <= max(base, LONGEST_SECONDS)
    assert found <= max(base, STEP * cells / BEATS_A_SECOND)
    assert cells / found <= BEATS_A_SECOND * 1.001 or found >= LONGEST_SECONDS
    assert found <= interval(cells + 1000, base)


@given(st.integers(0, 50_000))
def test_no_more_cells_redial_at_once_than_a_controller_can_let_in_and_few_wait_for_nothing(cells: int) -> None:
    window = redial_window(cells)
    assert SHORTEST_WINDOW <= window <= LONGEST_WINDOW
    assert cells / window <= DIALS_A_SECOND * 1.001 or window == LONGEST_WINDOW
    assert window <= max(SHORTEST_WINDOW, STEP * cells / DIALS_A_SECOND)
    assert window <= redial_window(cells + 1000)


def test_a_lease_is_as_many_heartbeats_however_long_they_are() -> None:
    limits = stretched(LIMITS, Rhythm(12.5, 12.5))
    assert limits.lease / limits.heartbeat == LIMITS.lease / LIMITS.heartbeat
    assert limits.heartbeat == 12.5
    assert limits.grace == LIMITS.grace


def test_with_few_cells_the_lease_is_the_one_of_the_settings() -> None:
    assert stretched(LIMITS, after(Rhythm(5.0, 5.0), 1000, LIMITS.heartbeat, 0.0)) == LIMITS


@given(st.lists(st.tuples(st.floats(0.1, 90), st.integers(0, 30_000)), max_size=60))
def test_a_cell_that_was_told_to_be_slower_has_its_lease_until_it_was_told_otherwise(
    looks: list[tuple[float, int]],
) -> None:
    """A cell learns of a change with its next heartbeat, which comes within the interval that it kept to before."""
    rhythm, now, kept, due = Rhythm(5.0, 5.0), 0.0, 5.0, 5.0
    for seconds, cells in looks:
        until = now + seconds
        while due <= until:
            kept = rhythm.told
            due += kept
        now = until
        rhythm = after(rhythm, cells, LIMITS.heartbeat, now)
        assert rhythm.slowest >= rhythm.told
        assert rhythm.slowest >= kept, "its lease would end before its heartbeat is due"
