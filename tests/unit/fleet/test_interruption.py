"""What the cloud's announcements mean for a cell, and what is planned for it then."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.clouds.protocol import Notice
from controller.fleet import plan
from controller.fleet.announcements import announcement, due, weightier
from controller.fleet.plan import FleetLimits, Seen, plan_cell
from controller.model.cell import Announcement, Cell, CellState, NoticeKind
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef

NAME, INSTANCE = CellName("c-1"), InstanceId("i-1")
DEMAND = Demand(cpu_millis=100, memory_mib=100)
CLAIM = PodClaim(pod=PodRef(uid=PodUid("u"), namespace="default", name="web"), demand=DEMAND)
LIMITS = FleetLimits(maintenance_lead=600)
MOVING = FleetLimits(maintenance_lead=600, rebalance_ends=True)
T = 10_000.0


def notice(kind: NoticeKind, at: float = T + 120, *, ends: bool = True) -> Notice:
    return Notice(instance=INSTANCE, kind=kind, at=at, message="told", ends=ends)


def said(kind: NoticeKind = NoticeKind.INTERRUPTION, at: float = T + 120, **facts: Any) -> Announcement:
    known: dict[str, Any] = {"message": "told", "heard_at": T, "ends": True, **facts}
    return Announcement(kind=kind, at=at, **known)


def planned(state: CellState, known: Announcement, *, warm: bool = False, limits: FleetLimits = LIMITS) -> Any:
    cell = Cell(
        name=NAME, state=state, demand=DEMAND, instance=INSTANCE, claim=None if warm else CLAIM, announced=known,
        created_at=T, changed_at=T, last_heartbeat=T,
    )  # fmt: skip
    return plan_cell(cell, Seen(asked_at=T, listed_at=T), limits, T)


@pytest.mark.parametrize(
    ("told", "limits", "ends"),
    [
        (notice(NoticeKind.INTERRUPTION), LIMITS, True),
        (notice(NoticeKind.MAINTENANCE), LIMITS, True),
        (notice(NoticeKind.REBALANCE, 0.0, ends=False), LIMITS, False),
        (notice(NoticeKind.REBALANCE, 0.0, ends=False), MOVING, True),
    ],
)
def test_a_cell_remembers_what_ends_it_and_a_rebalance_ends_it_where_the_settings_say_so(
    told: Notice, limits: FleetLimits, *, ends: bool
) -> None:
    news = announcement(told, limits, T)

    assert news is not None
    assert (news.ends, news.heard_at, news.kind) == (ends, T, told.kind)


def test_a_failed_check_and_a_change_of_state_are_no_announcements() -> None:
    assert announcement(notice(NoticeKind.MAINTENANCE, 0.0, ends=False), LIMITS, T) is None
    assert announcement(notice(NoticeKind.STATE_CHANGE, ends=False), LIMITS, T) is None


def test_a_spot_interruption_without_a_time_has_the_usual_two_minutes() -> None:
    news = announcement(notice(NoticeKind.INTERRUPTION, 0.0), LIMITS, T)

    assert news is not None
    assert news.at == T + 120


def test_maintenance_waits_until_it_is_near_and_an_interruption_does_not() -> None:
    assert due(said(NoticeKind.INTERRUPTION), LIMITS, T)
    assert due(said(NoticeKind.MAINTENANCE, T + 599), LIMITS, T)
    assert not due(said(NoticeKind.MAINTENANCE, T + 86_400), LIMITS, T)
    assert due(said(NoticeKind.MAINTENANCE, 0.0), LIMITS, T), "nobody knows when: at once"
    assert not due(said(NoticeKind.REBALANCE, 0.0, ends=False), LIMITS, T)


def test_a_pod_is_told_once_and_a_cell_that_was_not_handed_over_is_given_up() -> None:
    assert planned(CellState.CLAIMED, said()) == plan.End(NAME)
    assert planned(CellState.CLAIMED, said(ending_since=T)) is None
    assert isinstance(planned(CellState.READY, said()), plan.Retire)
    assert isinstance(planned(CellState.BOOTING, said()), plan.Retire)


def test_no_pod_gets_a_warm_cell_whose_instance_will_end_however_late() -> None:
    for known in (said(), said(NoticeKind.MAINTENANCE, T + 86_400)):
        assert isinstance(planned(CellState.READY, known, warm=True), plan.Release)
        assert isinstance(planned(CellState.BOOTING, known, warm=True), plan.Release)
    assert planned(CellState.READY, said(NoticeKind.REBALANCE, 0.0, ends=False), warm=True) is None


ANNOUNCEMENTS = st.builds(
    said,
    kind=st.sampled_from((NoticeKind.INTERRUPTION, NoticeKind.MAINTENANCE, NoticeKind.REBALANCE)),
    at=st.sampled_from((0.0, T + 1, T + 100, T + 90_000)),
    ends=st.booleans(),
)


@given(st.lists(ANNOUNCEMENTS, min_size=1), st.randoms())
def test_in_whatever_order_they_come_the_soonest_end_is_remembered(told: list[Announcement], chance: Any) -> None:
    def heard(order: list[Announcement]) -> Announcement:
        kept = reduce(lambda known, news: news if weightier(known, news) else known, order, None)
        assert kept is not None
        return kept

    shuffled = list(told)
    chance.shuffle(shuffled)
    one, other = heard(told), heard(shuffled)

    assert one.ends == other.ends == any(each.ends for each in told)
    if one.ends:
        assert one.at == other.at
        ending = [each.at or float("inf") for each in told if each.ends]
        assert (one.at or float("inf")) == min(ending)


@given(ANNOUNCEMENTS, ANNOUNCEMENTS)
def test_what_is_told_again_is_not_written_again(first: Announcement, second: Announcement) -> None:
    kept = second if weightier(first, second) else first

    assert not weightier(kept, kept)
    assert not (weightier(first, second) and weightier(second, first))
