"""Waiting for turns: never above the documented limits, whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.clouds.ec2.buckets import Buckets, draws
from tests.support.ec2_buckets import Buckets as Theirs

ACTIONS = st.sampled_from(["CreateFleet", "RunInstances", "TerminateInstances", "DescribeInstances", "CreateTags"])
ARRIVALS = st.lists(st.tuples(st.floats(0, 5), ACTIONS, st.integers(1, 1000)), max_size=150)


def parameters(action: str, count: int) -> dict[str, object]:
    match action:
        case "CreateFleet":
            return {"TargetCapacitySpecification": {"TotalTargetCapacity": count}}
        case "RunInstances":
            return {"MaxCount": count}
        case "TerminateInstances":
            return {"InstanceIds": ["i-1"] * count}
        case _:
            return {"MaxResults": 1000}


@given(ARRIVALS)
def test_calls_that_wait_as_told_are_never_throttled(arrivals: list[tuple[float, str, int]]) -> None:
    ours, now = Buckets(), 0.0
    sent: list[tuple[float, str, int]] = []
    for pause, action, count in arrivals:
        now += pause
        wait = ours.take(draws("ec2", action, parameters(action, count), count), now)
        sent.append((now + wait, action, count))

    theirs = Theirs()
    refused = [action for at, action, count in sorted(sent) if theirs.take(action, parameters(action, count), at)]
    assert not refused


@given(ARRIVALS)
def test_who_came_first_for_an_action_goes_first(arrivals: list[tuple[float, str, int]]) -> None:
    ours, now = Buckets(), 0.0
    last: dict[str, float] = {}
    for pause, action, _ in arrivals:
        now += pause
        due = now + ours.take(draws("ec2", action, {"MaxResults": 5}, 0), now)
        assert due >= last.get(action, 0.0) - 1e-6
        last[action] = due


def test_a_burst_goes_at_once_and_what_is_beyond_it_waits() -> None:
    ours = Buckets()
    waits = [ours.take(draws("ec2", "RunInstances", {}, 1), 0.0) for _ in range(7)]
    assert waits[:5] == [0] * 5
    assert 0 < waits[5] < waits[6] < 1.2


def test_after_a_refusal_nothing_goes_at_once() -> None:
    ours = Buckets()
    wanted = draws("ec2", "CreateFleet", {}, 1)
    assert ours.take(wanted, 0.0) == 0
    ours.empty(wanted, 0.0)
    assert ours.take(wanted, 0.0) > 0


def test_a_call_that_was_not_made_gives_its_tokens_back() -> None:
    ours = Buckets()
    wanted = draws("ec2", "RunInstances", {}, 1000)
    assert ours.take(wanted, 0.0) == 0
    ours.give_back(wanted, 0.0)
    assert ours.take(wanted, 0.0) == 0
