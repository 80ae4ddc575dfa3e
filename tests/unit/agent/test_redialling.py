"""When a cell dials again: quickly at first, then at a moment of its own in the window that it was told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.boot import join
from cellagent.link import redialling
from cellagent.link.redialling import LONGEST_WINDOW, RedialWindow
from cellwire.cell.v1 import cell_pb2 as wire


def told(seconds: float) -> RedialWindow:
    window = RedialWindow()
    window.heed(wire.ReportRequest(redial_window_ms=round(seconds * 1000)))
    return window


def test_the_first_redial_is_quick_whatever_the_window_is() -> None:
    assert told(60).pause(0, 1) < 0.3


def test_redials_in_vain_are_spread_over_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    for chance in (0.0, 0.25, 1.0):
        monkeypatch.setattr(redialling, "pause", lambda tries, window, of=chance: join.pause(tries, window, lambda: of))
        assert told(40).pause(1, 1) == pytest.approx(40 * chance, abs=0.1)


def test_all_addresses_are_dialled_before_the_window_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redialling, "pause", lambda _, window: window)
    assert [told(40).pause(tries, 3) for tries in range(7)] == [0, 0, 0, 40, 0, 0, 40]


@given(st.integers(0, 2**32 - 1))
def test_no_controller_sends_its_cells_away_for_long(milliseconds: int) -> None:
    window = RedialWindow()
    window.heed(wire.ReportRequest(redial_window_ms=milliseconds))
    assert window.seconds <= LONGEST_WINDOW
