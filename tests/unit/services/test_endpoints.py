"""Endpoints of a Service: every pod that may answer is told once, nobody else, and who is there stays where it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.services import endpoints, model
from controller.services.endpoints import IN_A_SLICE, EndpointChanges

Json = dict[str, Any]


def service(**spec: Any) -> Json:
    usual = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}], "clusterIP": "10.96.0.9"}
    metadata = {"name": "web", "namespace": "n", "uid": "s", "labels": {"team": "a"}}
    return {"metadata": metadata, "spec": {**usual, **spec}}


def pod(number: int, **more: Any) -> Json:
    ports = [{"name": "http", "containerPort": more.get("port", 8080)}]
    spec = {"containers": [{"name": "c", "ports": ports}], "nodeName": f"cell-{number}", **more.get("spec", {})}
    ready = "True" if more.get("ready", True) else "False"
    status = {"phase": more.get("phase", "Running"), "conditions": [{"type": "Ready", "status": ready}]}
    if address := more.get("address", f"10.0.{number >> 8}.{number & 255}"):
        status["podIP"] = address
    metadata = {"name": f"web-{number}", "namespace": "n", "uid": f"p{number}", "labels": {"app": "web"}}
    if more.get("ends"):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": spec, "status": status}


def acted(there: dict[str, Json], plan: EndpointChanges) -> dict[str, Json]:
    """What is there after a plan: it creates what is not, and changes and deletes what is."""
    after = dict(there)
    for one in plan.create:
        assert one["metadata"]["name"] not in after
        after[one["metadata"]["name"]] = one
    for one in plan.change:
        assert one["metadata"]["name"] in after
        after[one["metadata"]["name"]] = one
    for name in plan.delete:
        del after[name]
    return after


def told(slices: dict[str, Json]) -> list[tuple[str, int]]:
    return sorted(
        (one["targetRef"]["uid"], (each.get("ports") or [{"port": 0}])[0]["port"])
        for each in slices.values()
        for one in each["endpoints"]
    )


Change = tuple[int, bool, int]


@given(st.lists(st.lists(st.tuples(st.integers(0, 260), st.booleans(), st.sampled_from((8080, 9090)))), max_size=6))
def test_slices_tell_each_pod_once_and_move_nobody(steps: list[list[Change]]) -> None:
    pods: dict[int, Json] = {}
    slices: dict[str, Json] = {}
    for step in steps:
        for number, there, port in step:
            if there:
                pods[number] = pod(number, port=port)
            else:
                pods.pop(number, None)
        before = {one["targetRef"]["uid"]: name for name, each in slices.items() for one in each["endpoints"]}
        ports_before = dict(told(slices))
        found = endpoints.members(service(), pods.values())
        slices = acted(slices, endpoints.slices(service(), found, list(slices.values())))
        assert told(slices) == sorted(
            (one["metadata"]["uid"], one["spec"]["containers"][0]["ports"][0]["containerPort"]) for one in pods.values()
        )
        assert all(len(one["endpoints"]) <= IN_A_SLICE for one in slices.values())
        assert slices  # one without endpoints says that nobody answers
        for name, each in slices.items():
            for one in each["endpoints"]:
                uid = one["targetRef"]["uid"]
                if uid in before and ports_before[uid] == each["ports"][0]["port"]:
                    assert before[uid] == name
        assert endpoints.slices(service(), found, list(slices.values())) == EndpointChanges()


def test_many_pods_have_few_slices() -> None:
    found = endpoints.members(service(), [pod(number) for number in range(250)])
    assert len(endpoints.slices(service(), found, []).create) == 3


@pytest.mark.parametrize(
    ("more", "spec", "wanted"),
    [
        ({}, {}, (True, True, False)),
        ({"ready": False}, {}, (False, False, False)),
        ({"ends": True}, {}, (False, True, True)),
        ({"ready": False}, {"publishNotReadyAddresses": True}, (True, False, False)),
    ],
)
def test_conditions_are_those_of_kubernetes(more: Json, spec: Json, wanted: tuple[bool, bool, bool]) -> None:
    (one,) = endpoints.members(service(**spec), [pod(1, **more)])
    conditions = one.endpoint["conditions"]
    assert (conditions["ready"], conditions["serving"], conditions["terminating"]) == wanted


def test_who_is_over_has_no_address_or_another_label_answers_nothing() -> None:
    other = pod(3)
    other["metadata"]["labels"] = {"app": "other"}
    some = [pod(1, phase="Succeeded"), pod(2, address=""), other]
    assert endpoints.members(service(), some) == []
    assert endpoints.members(service(selector=None), [pod(4)]) == []


def test_a_pod_of_a_headless_service_has_its_name() -> None:
    own = pod(1, spec={"hostname": "web-1", "subdomain": "web"})
    headless = service(clusterIP="None")
    (one,) = endpoints.slices(headless, endpoints.members(headless, [own]), []).create
    assert one["metadata"]["labels"][endpoints.HEADLESS_LABEL] == ""
    read = model.slice_of({**one, "metadata": {**one["metadata"], "namespace": "n"}})
    assert read.service == ("n", "web")
    assert [end.hostname for end in read.endpoints] == ["web-1"]
    assert read.ports == {("", "tcp"): 8080}


def test_endpoints_tell_ready_and_not_ready_by_port() -> None:
    some = [pod(1), pod(2, ready=False), pod(3, ends=True), pod(4, port=9090)]
    one = endpoints.endpoints(service(), endpoints.members(service(), some))
    first, second = one["subsets"]
    assert [each["ip"] for each in first["addresses"]] == ["10.0.0.1"]
    assert [each["ip"] for each in first["notReadyAddresses"]] == ["10.0.0.2"]
    assert first["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert [each["ip"] for each in second["addresses"]] == ["10.0.0.4"]
    assert "subsets" not in endpoints.endpoints(service(), [])


def test_endpoints_that_somebody_wrote_have_slices_until_they_are_gone() -> None:
    written = {
        "metadata": {"name": "web", "namespace": "n"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432}]}],
    }
    plain = service(selector=None)
    plan = endpoints.mirrored(plain, written, [])
    (one,) = plan.create
    assert one["endpoints"] == [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}]
    assert endpoints.mirrored(plain, written, [one]) == EndpointChanges()
    assert endpoints.mirrored(plain, None, [one]) == EndpointChanges(delete=(one["metadata"]["name"],))
