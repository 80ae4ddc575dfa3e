"""Waiting for turns: never above the documented limits, whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault
from controller.clouds.ec2.buckets import MUTATING, Buckets, Limit, draws, raised
from tests.support.ec2_buckets import CallBuckets as Theirs

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
    ours.refused(wanted, 0.0)
    assert ours.take(wanted, 0.0) > 0


def test_a_call_that_was_not_made_gives_its_tokens_back() -> None:
    ours = Buckets()
    wanted = draws("ec2", "RunInstances", {}, 1000)
    assert ours.take(wanted, 0.0) == 0
    ours.give_back(wanted, 0.0)
    assert ours.take(wanted, 0.0) == 0


def longest_burst(ours: Buckets, theirs: float, seconds: float) -> tuple[int, int]:
    """Calls that passed and calls that were refused by an EC2 that refills `theirs` a second, all asked for at once."""
    now, passed, refused, tokens, at = 0.0, 0, 0, 5.0, 0.0
    wanted = draws("ec2", "RunInstances", {}, 0)[:1]
    while now < seconds:
        wait = ours.take(wanted, now)
        now += wait
        tokens = min(5.0, tokens + (now - at) * theirs)
        at = now
        if tokens >= 1:
            tokens -= 1
            passed += 1
            if wait:
                ours.passed(wanted, now)
        else:
            refused += 1
            ours.refused(wanted, now)
    return passed, refused


def test_a_limit_that_was_raised_is_found() -> None:
    passed, refused = longest_burst(Buckets(), theirs=6.0, seconds=600)
    assert passed > 0.7 * 6.0 * 600, "of what EC2 would have let through"
    assert refused < 10


def test_what_others_draw_from_the_same_bucket_is_left_to_them() -> None:
    passed, refused = longest_burst(Buckets(), theirs=0.8, seconds=600)
    assert passed > 0.6 * 0.8 * 600
    assert refused < 0.1 * passed


def test_refusals_of_one_moment_slow_down_once() -> None:
    one, many = Buckets(), Buckets()
    wanted = draws("ec2", "RunInstances", {}, 0)[:1]
    for ours, times in ((one, 1), (many, 20)):
        for number in range(times):
            ours.refused(wanted, number / 100)
    assert many.take(wanted, 10.0) == one.take(wanted, 10.0) == 0
    for ours in (one, many):
        for _ in range(10):
            ours.take(wanted, 10.0)
    assert many.take(wanted, 10.0) == one.take(wanted, 10.0)


def test_an_account_says_which_limits_were_raised() -> None:
    own = raised(["RunInstances=100/20", "RunInstances resources=5000/10"])
    request, launched = draws("ec2", "CreateFleet", {}, 4000, own)
    assert (request.limit, launched.limit, launched.tokens) == (MUTATING, Limit(5000, 10), 4000)
    assert draws("ec2", "RunInstances", {}, 1, own)[0].limit == Limit(100, 20)


@pytest.mark.parametrize(
    "words", ["RunInstances", "RunInstances=fast", "=1/1", "RunInstances=0/2", "RunInstances=1/nan"]
)
def test_a_limit_that_cannot_be_read_is_refused_by_name(words: str) -> None:
    with pytest.raises(Fault, match=r"cloud\.ec2\.api_limits"):
        raised([words])
