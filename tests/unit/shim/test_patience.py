"""For how long a pod whose image cannot be pulled is given cells."""

from __future__ import annotations

import pytest

from cellwire.faults import Fault
from controller.shim.patience import LONGEST_PAUSE, PullBackoff


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def refused(patience: PullBackoff) -> bool:
    try:
        patience.check("u", "default/web")
    except Fault as fault:
        assert "mend its image" in fault.mend
        return True
    return False


def test_a_cell_is_given_up_after_a_while_and_each_next_one_comes_later() -> None:
    clock = Clock()
    patience = PullBackoff(60.0, clock)
    for pause in (60.0, 120.0, 240.0):
        assert not patience.failed("u")
        clock.at += 59
        assert not patience.failed("u")
        clock.at += 1
        assert patience.failed("u")
        patience.gave_up("u")
        clock.at += pause - 1
        assert refused(patience)
        clock.at += 1
        assert not refused(patience)
    assert not refused(PullBackoff(60.0, clock))


def test_a_pull_that_succeeds_ends_all_of_it() -> None:
    clock = Clock()
    patience = PullBackoff(60.0, clock)
    patience.failed("u")
    patience.gave_up("u")
    patience.pulled("u")
    assert not refused(patience)
    clock.at += 100
    assert not patience.failed("u")


@pytest.mark.parametrize("times", [1, 40])
def test_no_pause_is_longer_than_a_day(times: int) -> None:
    clock = Clock()
    patience = PullBackoff(3600.0, clock)
    for _ in range(times):
        patience.gave_up("u")
    clock.at += LONGEST_PAUSE
    assert not refused(patience)


def test_patience_may_be_endless() -> None:
    clock = Clock()
    patience = PullBackoff(0.0, clock)
    patience.failed("u")
    clock.at += 1e9
    assert not patience.failed("u")
