"""How a cell goes from state to state."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from controller.model import transitions
from controller.model.cell import Announcement, Cell, CellState, NoticeKind
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef

DEMAND = Demand(cpu_millis=100, memory_mib=64)
CLAIM = PodClaim(pod=PodRef(uid=PodUid("u"), namespace="default", name="web"), demand=DEMAND)
EVENTS: dict[type[transitions.Event], transitions.Event] = {
    type(event): event
    for event in (
        transitions.Launching(client_token="t", join_token_hash="h"),
        transitions.LaunchRefused("none left"),
        transitions.Launched(instance=InstanceId("i-1"), address="10.0.0.2"),
        transitions.Assigned(CLAIM),
        transitions.InstanceJoined("key"),
        transitions.BootReported({"agent": 2.0}),
        transitions.Claimed(),
        transitions.Announced(
            Announcement(kind=NoticeKind.INTERRUPTION, at=9.0, message="taken", heard_at=1.0, ends=True)
        ),
        transitions.Retired("deleted"),
        transitions.Released("one too many"),
        transitions.Lost("silent"),
        transitions.Ended(),
    )
}


def cell(state: CellState = CellState.REQUESTED) -> Cell:
    return Cell(name=CellName("c-1"), state=state, demand=DEMAND, created_at=1.0)


@pytest.mark.parametrize("state", list(CellState))
@pytest.mark.parametrize("event", list(EVENTS.values()), ids=lambda event: type(event).__name__)
def test_every_pair_is_in_the_table_or_refused(state: CellState, event: transitions.Event) -> None:
    target = transitions.TRANSITIONS.get((state, type(event)))
    if target is None:
        with pytest.raises(transitions.InvalidStep, match=f"c-1 is {state.value}"):
            transitions.step(cell(state), event, 5.0)
    else:
        assert transitions.step(cell(state), event, 5.0).state is target


def test_the_straight_way_goes_through_every_state_and_notes_the_moments() -> None:
    one = cell()
    way = [
        transitions.Launching,
        transitions.Launched,
        transitions.InstanceJoined,
        transitions.Claimed,
        transitions.Retired,
        transitions.Ended,
    ]
    for now, kind in enumerate(way, 2):
        one = transitions.step(one, EVENTS[kind], float(now))

    assert one.state is CellState.GONE
    assert list(one.moments) == ["requested", "launching", "booting", "ready", "claimed", "retiring", "gone"]
    assert (one.instance, one.boots, one.reason, one.changed_at) == (InstanceId("i-1"), 1, "deleted", 7.0)


@pytest.mark.parametrize("state", [state for state in CellState if state in transitions.LIVE])
def test_any_live_cell_can_be_lost_and_says_why(state: CellState) -> None:
    lost = transitions.step(cell(state), transitions.Lost("silent"), 5.0)

    assert (lost.state, lost.reason) == (CellState.LOST, "silent")


def test_a_refused_launch_gives_its_token_back_and_the_next_counts_as_another_boot() -> None:
    launching = transitions.step(cell(), EVENTS[transitions.Launching], 2.0)
    refused = transitions.step(launching, transitions.LaunchRefused("none left"), 3.0)
    again = transitions.step(refused, EVENTS[transitions.Launching], 4.0)

    assert (refused.state, refused.client_token, refused.reason) == (CellState.REQUESTED, "", "none left")
    assert (again.boots, again.moments["launching"]) == (2, 4.0)


def test_a_cell_of_one_pod_is_never_given_to_another() -> None:
    mine = transitions.step(cell(CellState.READY), transitions.Assigned(CLAIM), 2.0)
    other = msgspec.structs.replace(CLAIM, pod=PodRef(uid=PodUid("v"), namespace="default", name="other"))

    assert transitions.step(mine, transitions.Assigned(CLAIM), 3.0).claim == CLAIM
    with pytest.raises(transitions.InvalidStep):
        transitions.step(mine, transitions.Assigned(other), 3.0)


@pytest.mark.parametrize("state", [CellState.BOOTING, CellState.READY])
def test_a_warm_cell_can_be_let_go_until_a_pod_has_taken_it(state: CellState) -> None:
    warm = msgspec.structs.replace(cell(state), claim=None)
    taken = transitions.step(warm, transitions.Assigned(CLAIM), 2.0)

    assert transitions.step(warm, transitions.Released("one too many"), 2.0).state is CellState.RETIRING
    with pytest.raises(transitions.InvalidStep):
        transitions.step(taken, transitions.Released("one too many"), 3.0)


def test_a_pod_that_was_told_to_end_is_not_told_anew_by_an_older_announcement() -> None:
    taken = Announcement(kind=NoticeKind.INTERRUPTION, at=9.0, message="taken", heard_at=1.0, ends=True)
    due = Announcement(kind=NoticeKind.MAINTENANCE, at=20.0, message="reboot", heard_at=0.5, ends=True)
    told = transitions.step(cell(CellState.CLAIMED), transitions.Announced(replace(taken, ending_since=2.0)), 2.0)
    assert transitions.step(told, transitions.Announced(replace(due, ending_since=3.0)), 3.0) == told


def test_the_answer_to_a_launch_is_kept_when_the_cell_was_given_up_meanwhile() -> None:
    launching = transitions.step(cell(), EVENTS[transitions.Launching], 2.0)
    retiring = transitions.step(launching, transitions.Retired("deleted"), 3.0)

    assert transitions.step(retiring, EVENTS[transitions.Launched], 4.0).instance == InstanceId("i-1")


@given(st.lists(st.sampled_from(sorted(EVENTS, key=lambda kind: kind.__name__)), max_size=30))
def test_whatever_happens_time_and_boots_never_go_back_and_the_end_is_the_end(
    kinds: list[type[transitions.Event]],
) -> None:
    one = cell()
    for now, kind in enumerate(kinds, 2):
        try:
            after = transitions.step(one, EVENTS[kind], float(now))
        except transitions.InvalidStep:
            continue
        assert one.state is not CellState.GONE
        assert after.changed_at >= one.changed_at
        assert after.boots >= one.boots
        assert after.name == one.name
        assert one.claim is None or after.claim == one.claim
        if one.state in transitions.ENDING:
            assert after.state in {one.state, CellState.GONE}
        one = after
