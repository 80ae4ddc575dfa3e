"""What is planned for a cell in each situation, and which instance is whose."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.fleet import plan
from controller.fleet.orphans import Candidate, sort
from controller.fleet.plan import FleetLimits, Seen, plan_cell
from controller.fleet.silence import Listening, begun
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance, InstanceState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand, LaunchType
from controller.model.pod import PodClaim, PodRef

NAME = CellName("c-1")
DEMAND = Demand(cpu_millis=100, memory_mib=100)
CLAIM = PodClaim(pod=PodRef(uid=PodUid("u"), namespace="default", name="web"), demand=DEMAND)
LIMITS = FleetLimits(lease=30, boot=300, launch=600, unclaimed=300, grace=30, terminate_again=15)
T = 10_000.0


def cell(state: CellState, **facts: Any) -> Cell:
    fields: dict[str, Any] = {"claim": CLAIM, "created_at": T - 1000, "changed_at": T - 10, **facts}
    return Cell(name=NAME, state=state, demand=DEMAND, **fields)


def instance(state: InstanceState = InstanceState.RUNNING, name: str = "i-1", token: str = "t") -> Instance:
    return Instance(
        id=InstanceId(name), state=state, type="small", zone="a", launch_type=LaunchType.ON_DEMAND, client_token=token
    )


def planned(one: Cell, **seen: Any) -> plan.Action | None:
    known: dict[str, Any] = {"asked_at": T, "listed_at": T - 1, **seen}
    return plan_cell(one, Seen(**known), LIMITS, T)


def test_a_requested_cell_is_launched() -> None:
    assert planned(cell(CellState.REQUESTED)) == plan.Launch(NAME)


def test_a_launch_of_an_earlier_life_waits_for_a_list_that_may_know_its_answer() -> None:
    one = cell(CellState.LAUNCHING, client_token="t", changed_at=T - 100)

    assert planned(one, listening=begun(T - 50), listed_at=0.0) is None
    assert planned(one, listening=begun(T - 50)) == plan.Launch(NAME)
    assert planned(one, listening=begun(T - 50), instance=instance()) == plan.Adopt(NAME, instance())


def test_a_launch_without_an_answer_is_given_up_in_the_end() -> None:
    assert isinstance(planned(cell(CellState.LAUNCHING, changed_at=T - 601)), plan.Lose)


@pytest.mark.parametrize(("age", "given_up"), [(299, False), (301, True)])
def test_an_instance_has_so_long_to_join(age: float, *, given_up: bool) -> None:
    action = planned(cell(CellState.BOOTING, instance="i-1", changed_at=T - age), instance=instance())

    assert isinstance(action, plan.Lose) is given_up


def test_an_instance_that_booted_while_the_controller_was_away_may_dial_once_more() -> None:
    booted = cell(CellState.BOOTING, instance="i-1", changed_at=T - 900)

    assert planned(booted, listening=begun(T - 64), instance=instance()) is None
    assert isinstance(planned(booted, listening=begun(T - 66), instance=instance()), plan.Lose)


@pytest.mark.parametrize(
    ("heard", "started", "lost"),
    [(T - 31, 0, True), (T - 29, 0, False), (T - 500, T - 29, False), (T - 500, T - 64, False), (0, T - 66, True)],
)
def test_the_lease_counts_from_the_last_word_or_our_own_start(heard: float, started: float, *, lost: bool) -> None:
    one = cell(CellState.CLAIMED, last_heartbeat=heard, changed_at=T - 900, instance="i-1")
    action = planned(one, listening=begun(started), instance=instance())

    assert isinstance(action, plan.Lose) is lost
    assert action is None or "CellLost" in getattr(action, "reason", "")


@pytest.mark.parametrize("state", [CellState.BOOTING, CellState.READY, CellState.CLAIMED])
def test_a_cell_whose_instance_has_ended_is_lost_and_says_why(state: CellState) -> None:
    ended = msgspec.structs.replace(instance(InstanceState.TERMINATED), state_reason="Server.SpotInstanceTermination")
    action = planned(cell(state, instance="i-1", last_heartbeat=T), instance=ended)

    assert action == plan.Lose(NAME, "its instance i-1 is terminated (Server.SpotInstanceTermination)")


def test_an_instance_missing_from_lists_loses_its_cell_only_if_that_is_silent_too() -> None:
    one = cell(CellState.CLAIMED, instance="i-1", changed_at=T - 900, last_heartbeat=T - 1, connected=True)
    missing: dict[str, Any] = {"missing_since": T - 100, "listed_at": T - 1}

    assert planned(one, **missing) is None
    booting = cell(CellState.BOOTING, instance="i-1", changed_at=T - 200)
    assert isinstance(planned(booting, **missing), plan.Lose)
    assert planned(booting, missing_since=T - 20, listed_at=T - 1) is None


def test_a_ready_cell_that_nobody_asks_for_is_retired_and_a_warm_one_kept() -> None:
    fields: dict[str, Any] = {"instance": "i-1", "changed_at": T - 400, "last_heartbeat": T, "connected": True}

    assert isinstance(planned(cell(CellState.READY, **fields), asked_at=T - 301), plan.Retire)
    assert planned(cell(CellState.READY, **fields), asked_at=float("inf")) is None
    assert planned(cell(CellState.READY, claim=None, **fields), asked_at=0.0) is None


def test_a_warm_cell_that_stood_by_for_long_is_kept_for_the_pod_that_has_just_taken_it() -> None:
    fields: dict[str, Any] = {"instance": "i-1", "created_at": T - 9000, "changed_at": T - 8000, "last_heartbeat": T}
    taken = cell(CellState.READY, assigned_at=T, **fields)

    assert planned(taken, asked_at=0.0) is None
    left = msgspec.structs.replace(taken, assigned_at=T - 301)
    assert isinstance(planned(left, asked_at=0.0), plan.Retire), "who asked for it has gone"


def test_among_many_silent_cells_one_whose_instance_fails_its_status_check_is_lost() -> None:
    one = cell(CellState.CLAIMED, instance="i-1", changed_at=T - 900, last_heartbeat=T - 100)
    many = Listening(started_at=T - 900, since=T, looked_at=T, silent=50, mass=True)

    assert planned(one, listening=many, instance=instance()) is None
    checked = {"impaired": "the system status check fails", "impaired_at": T - 50}
    action = planned(one, listening=many, instance=instance(), **checked)
    assert action == plan.Lose(NAME, "CellLost: nothing was heard of it for 100 s, and the system status check fails")
    assert planned(one, listening=many, instance=instance(), impaired="x", impaired_at=T - 200) is None, "heard since"
    assert isinstance(planned(one, listening=many, instance=instance(InstanceState.TERMINATED)), plan.Lose)


def test_a_cell_missing_from_lists_is_not_lost_before_it_could_dial_a_restarted_controller() -> None:
    one = cell(CellState.CLAIMED, instance="i-1", changed_at=T - 900)
    missing: dict[str, Any] = {"missing_since": T - 40, "listed_at": T - 1}

    assert planned(one, listening=begun(T - 41), **missing) is None
    assert isinstance(planned(one, listening=begun(T - 70), **missing), plan.Lose)


@pytest.mark.parametrize("state", [CellState.RETIRING, CellState.LOST])
def test_an_ending_cell_ends_its_instance_sees_it_gone_and_is_forgotten(state: CellState) -> None:
    one = cell(state, instance="i-1")

    assert planned(one, instance=instance()) == plan.Terminate(NAME, InstanceId("i-1"))
    assert planned(one) == plan.Terminate(NAME, InstanceId("i-1")), "a list alone is no proof"
    assert planned(one, instance=instance(), terminated_at=T - 5) is None
    assert planned(one, instance=instance(), terminated_at=T - 20) == plan.Terminate(NAME, InstanceId("i-1"))
    ahead = planned(one, instance=instance(), terminated_at=T + 3600)
    assert ahead == plan.Terminate(NAME, InstanceId("i-1")), "asked for while the clock was ahead"
    assert planned(one, terminated_at=T - 5) == plan.Forget(NAME)
    assert planned(one, instance=instance(InstanceState.TERMINATED)) == plan.Forget(NAME)


def test_an_ending_cell_whose_launch_may_be_on_its_way_is_kept_until_a_late_list_shows_nothing() -> None:
    asked = cell(CellState.RETIRING, client_token="t", changed_at=T - 20)

    assert planned(asked) is None
    assert planned(asked, instance=instance()) == plan.Terminate(NAME, InstanceId("i-1"))
    assert planned(msgspec.structs.replace(asked, changed_at=T - 40)) == plan.Forget(NAME)
    assert planned(cell(CellState.RETIRING)) == plan.Forget(NAME), "nothing was ever asked for"


def test_a_full_pass_plans_for_every_cell_the_orphans_and_the_surplus() -> None:
    warm = cell(CellState.READY, claim=None, instance="i-1", last_heartbeat=T, connected=True)
    observed = plan.Observed(cells=((warm, Seen()),), orphans=(InstanceId("i-9"),), surplus={NAME: "too many"})

    assert [type(each) for each in plan.plan(observed, LIMITS, T)] == [plan.Collect, plan.Retire]


def test_instances_are_sorted_by_id_and_by_the_token_of_a_launch_without_an_answer() -> None:
    known = cell(CellState.CLAIMED, instance="i-1", client_token="t")
    coming = msgspec.structs.replace(cell(CellState.LAUNCHING, client_token="t2"), name=CellName("c-2"))
    listed = [instance(), instance(name="i-2", token="t2"), instance(name="i-3", token="t")]
    found = sort([known, coming], listed, {}, 30, T)

    assert {name: one.id for name, one in found.owned.items()} == {"c-1": "i-1", "c-2": "i-2"}
    assert list(found.candidates) == ["i-3"], "a second instance of a token is nobody's"


def test_an_orphan_is_due_after_two_lists_and_the_grace_and_an_ended_one_never() -> None:
    first = sort([], [instance()], {}, 30, T)
    early = sort([], [instance()], first.candidates, 30, T + 29)
    late = sort([], [instance()], early.candidates, 30, T + 30)
    once = sort([], [instance()], {InstanceId("i-2"): Candidate(0, 5)}, 30, T)
    stopped = sort([], [instance(InstanceState.STOPPED)], early.candidates, 30, T + 99)
    assert stopped.due == ("i-1",), "what is stopped still costs its volumes"
    ended = sort([], [instance(InstanceState.STOPPING)], early.candidates, 30, T + 99)

    assert [each.due for each in (first, early, late, once, ended)] == [(), (), ("i-1",), (), ()]
