"""When a cell dials again: quickly at first, then at a moment of its own in the window that it was told."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.boot.join import LONGEST_PAUSE
from cellagent.link.redialling import LONGEST_TOLD, LONGEST_WINDOW, RedialWindow
from cellwire.cell.v1 import cell_pb2 as wire


def told(seconds: float) -> RedialWindow:
    window = RedialWindow()
    window.heed(wire.ReportRequest(redial_window_ms=round(seconds * 1000)))
    return window


def always(chance: float) -> Callable[[], float]:
    return lambda: chance


def test_the_first_redial_is_quick_whatever_the_window_is() -> None:
    assert told(60).pause(0, 1, always(1.0)) < 0.3


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
def test_redials_in_vain_are_spread_over_the_window(chance: float) -> None:
    assert told(40).pause(1, 1, always(chance)) == pytest.approx(40 * chance, abs=0.1)


def test_all_cells_together_come_no_more_often_than_the_window_says() -> None:
    chance = random.Random(1).random
    for tries in (2, 5, 1000):
        pauses = [told(40).pause(tries, 1, chance) for _ in range(1000)]
        assert sum(pauses) / 1000 == pytest.approx(40, rel=0.05)
        assert max(pauses) <= 60


def test_all_addresses_are_dialled_one_soon_after_the_other_before_the_window_is_waited_for() -> None:
    pauses = [told(40).pause(tries, 3, always(1.0)) for tries in range(7)]
    assert [pause > 1 for pause in pauses] == [False, False, False, True, False, False, True]


def test_a_cell_that_was_told_of_few_others_is_back_soon_after_a_controller_that_was_away_for_long() -> None:
    assert told(0.4).pause(1000, 1, always(1.0)) <= LONGEST_TOLD + 0.1
    assert RedialWindow().pause(1000, 1, always(1.0)) == pytest.approx(LONGEST_PAUSE, abs=0.1)


@given(st.integers(0, 2**32 - 1))
def test_no_controller_sends_its_cells_away_for_long(milliseconds: int) -> None:
    window = RedialWindow()
    window.heed(wire.ReportRequest(redial_window_ms=milliseconds))
    assert window.seconds <= LONGEST_WINDOW
