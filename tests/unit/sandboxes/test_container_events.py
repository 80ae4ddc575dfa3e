"""Events are made of what has changed, in the order in which it must have happened."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.sandboxes import reducer

State = cri.ContainerState.ValueType
LIFE: tuple[State, ...] = (cri.CONTAINER_CREATED, cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED)


def status(state: State, started: int = 1, message: str = "") -> bytes:
    return cri.ContainerStatus(id="c", state=state, started_at=started, message=message).SerializeToString()


@given(some.lists(some.sampled_from(LIFE), min_size=1).map(sorted))
def test_however_much_news_is_missed_each_step_of_a_life_is_told_once_and_in_order(states: list[State]) -> None:
    records = [None, *(status(state) for state in states)]
    told = [kind for before, after in pairwise(records) for kind in reducer.container_events(before, after or b"")]
    assert told == list(reducer.STEPS[: states[-1] + 1])


def test_what_could_not_be_started_stops_without_having_started() -> None:
    created, exited = status(cri.CONTAINER_CREATED, 0), status(cri.CONTAINER_EXITED, 0)
    assert reducer.container_events(created, exited) == (cri.CONTAINER_STOPPED_EVENT,)


def test_a_change_that_is_no_step_is_no_event() -> None:
    running, resized = status(cri.CONTAINER_RUNNING), status(cri.CONTAINER_RUNNING, message="resized")
    assert reducer.container_events(running, resized) == ()


def test_a_sandbox_is_created_started_and_stopped_once() -> None:
    ready = cri.PodSandboxStatus(state=cri.SANDBOX_READY).SerializeToString()
    over = cri.PodSandboxStatus(state=cri.SANDBOX_NOTREADY).SerializeToString()
    assert reducer.sandbox_events(None, ready) == reducer.FIRST
    assert reducer.sandbox_events(ready, ready) == reducer.sandbox_events(over, over) == ()
    assert reducer.sandbox_events(ready, over) == (cri.CONTAINER_STOPPED_EVENT,)
