"""How much time a container has whose instance will be taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.model.cell import MARGIN, Announcement, NoticeKind
from controller.sandboxes import interruption
from controller.sandboxes.container_lifecycle import shortened
from controller.sandboxes.reducer import with_cause

T = 10_000.0


def said(at: float, since: float = T) -> Announcement:
    return Announcement(kind=NoticeKind.INTERRUPTION, at=at, message="", heard_at=T, ends=True, ending_since=since)


@given(st.floats(0, 600), st.floats(0, 600))
def test_the_signal_leaves_a_whole_grace_period_wherever_there_is_time_for_one(left: float, grace: float) -> None:
    known = said(T + MARGIN + left)
    at = interruption.signal_at(known, grace)

    assert at >= T
    assert at == T or at + grace <= known.over_by + 1e-6
    assert at <= T + grace + interruption.HEAD_START, "a kubelet that is not there is not waited for in vain"
    assert at + shortened(grace, known, at) <= max(known.over_by, T) + 1e-6


@given(st.floats(0, 600), st.floats(0, 600), st.floats(-3600, 3600))
def test_the_signal_comes_when_it_is_due_and_waits_for_no_clock_that_was_ahead(
    left: float, grace: float, later: float
) -> None:
    known = said(T + MARGIN + left)
    wait = interruption.signal_in(known, grace, T + later)

    assert 0 <= wait <= grace + interruption.HEAD_START
    if 0 <= later <= interruption.signal_at(known, grace) - T:
        assert T + later + wait == pytest.approx(interruption.signal_at(known, grace))


def test_a_stop_is_cut_to_what_is_left_and_only_where_the_instance_ends() -> None:
    assert shortened(30, said(T + 100), T) == 30
    assert shortened(30, said(T + 25), T) == 25 - MARGIN
    assert shortened(30, said(T + 5), T) == 0
    assert shortened(30, said(T + 25, since=0.0), T) == 30
    assert shortened(30, None, T) == 30


@pytest.mark.parametrize(("told", "grace"), [("5", 5.0), ("", 30.0), ("-1", 30.0), ("x", 30.0), ("\u00b2", 30.0)])
def test_the_grace_period_is_the_one_that_the_kubelet_tells(told: str, grace: float) -> None:
    annotations = {interruption.GRACE: told} if told else {}
    assert interruption.grace_of(cri.ContainerStatus(annotations=annotations)) == grace


def test_a_container_that_ends_then_says_why_and_keeps_its_exit_code() -> None:
    running = cri.ContainerStatus(state=cri.CONTAINER_RUNNING)
    ended = cri.ContainerStatus(state=cri.CONTAINER_EXITED, exit_code=143, reason="Error")

    told = with_cause(running, ended, "instance i-1 will be reclaimed")
    assert (told.exit_code, told.reason, told.message) == (143, "Interrupted", "instance i-1 will be reclaimed")
    assert with_cause(running, ended, "") is ended
    assert with_cause(ended, ended, "why") is ended, "it had ended before"
