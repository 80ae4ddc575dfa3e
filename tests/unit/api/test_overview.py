"""What the dashboard is told: of one namespace or of all, and why each pod waits."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from controller.api.dashboard.history import KEPT, SampleHistory, sample
from controller.api.dashboard.overview import DashboardInput, overview
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from tests.support.cells_double import OFFER

NOW = 10_000.0


def _cell(name: str, state: CellState, namespace: str = "") -> Cell:
    demand = Demand(cpu_millis=1, memory_mib=1)
    pod = PodRef(uid=PodUid(name), namespace=namespace, name=f"pod-{name}", attempt=0)
    claim = PodClaim(pod=pod, demand=demand, labels={}, annotations={}) if namespace else None
    one = Cell(name=CellName(name), state=state, demand=demand, claim=claim, offer=OFFER, created_at=NOW - 60)
    return replace(one, instance=InstanceId(f"i-{name}"), changed_at=NOW)


def _pod(name: str, namespace: str, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": name, "creationTimestamp": "1970-01-01T02:46:00Z"}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}, "status": status}


def _event(pod: str, namespace: str, message: str, at: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": pod, "uid": pod}
    told = {"type": "Warning", "reason": "FailedScheduling", "message": message, "lastTimestamp": at}
    return {"metadata": {"namespace": namespace}, "involvedObject": about, **told}


def _seen() -> DashboardInput:
    cells = [_cell("a", CellState.CLAIMED, "x"), _cell("b", CellState.BOOTING, "y"), _cell("c", CellState.READY)]
    history = SampleHistory()
    history.add(sample(cells, NOW))
    waiting = _pod("w", "x", phase="Pending")
    events = [
        _event("w", "x", "no capacity; raise the limit", "1970-01-01T02:46:30Z"),
        _event("w", "x", "no room", "1970-01-01T02:46:10Z"),
        _event("z", "y", "of another", "1970-01-01T02:46:35Z"),
    ]
    return DashboardInput(
        cells, [_pod("r", "x", phase="Running"), waiting, _pod("z", "y", phase="Running")], events, [], history
    )


def test_a_pod_that_waits_comes_first_with_its_last_word() -> None:
    told = overview(_seen(), "", NOW)
    first = told["pods"][0]
    assert (first["name"], first["why"]) == ("w", "no capacity; raise the limit")
    assert told["history"][0][1:6] == [1, 1, 1, 0, 0]
    assert set(told["usd_per_hour"]) == {"x", "y", ""}


def test_of_other_namespaces_nothing_is_told() -> None:
    told = overview(_seen(), "y", NOW)
    assert [one["name"] for one in told["pods"]] == ["z"]
    assert [one["pod"] for one in told["cells"]] == ["y/pod-b"]
    assert [one["message"] for one in told["faults"]] == ["of another"]
    assert told["history"][0][1:6] == [0, 1, 0, 0, 0]
    assert list(told["usd_per_hour"]) == ["y"]


def test_samples_are_kept_for_an_hour_and_no_longer() -> None:
    history = SampleHistory()
    for number in range(KEPT + 10):
        history.add(sample([], NOW + number))
    assert len(history.seen("")) == KEPT
    assert history.seen("")[-1][0] == NOW + KEPT + 9


def test_events_of_which_fields_are_missing_keep_nobody_from_the_dashboard() -> None:
    bare = {"metadata": {"name": "e", "namespace": "x"}, "type": "Warning"}
    no_words = {**bare, "involvedObject": {"uid": "w"}, "lastTimestamp": "1970-01-01T02:46:50Z"}
    found = overview(replace(_seen(), events=[bare, no_words]), "", NOW)
    assert len(found["faults"]) == 2
    assert [pod["why"] for pod in found["pods"] if pod["name"] == "w"] == [""]
