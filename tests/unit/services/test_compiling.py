"""Services as Kubernetes tells them, and what cells hold of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.services import compiling, model

Json = dict[str, Any]


def service(**spec: Any) -> model.ServiceEntry:
    ports = [{"port": 80, "targetPort": 8080}]
    return model.service_of(
        {"metadata": {"namespace": "default", "name": "web"}, "spec": {"clusterIP": "10.96.0.7", "ports": ports} | spec}
    )


def some(*endpoints: Json, name: str = "web-1", family: str = "IPv4") -> model.Slice:
    return model.slice_of(
        {
            "metadata": {"namespace": "default", "name": name, "labels": {model.SERVICE_LABEL: "web"}},
            "addressType": family,
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        }
    )


def endpoint(address: str, node: str = "", **conditions: bool) -> Json:
    return {"addresses": [address], "conditions": conditions, "nodeName": node}


def reached(held: Any) -> set[str]:
    return {f"{one.address}:{one.port}" for port in held.ports for one in port.backends}


def test_who_is_ready_answers_and_who_says_nothing_is_ready() -> None:
    slices = [some(endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=True), endpoint("10.0.0.3", ready=False))]
    assert reached(compiling.held(service(), slices, "")) == {"10.0.0.1:8080", "10.0.0.2:8080"}


def test_where_nobody_is_ready_who_still_serves_while_it_ends_does() -> None:
    ending = endpoint("10.0.0.1", ready=False, serving=True, terminating=True)
    gone = endpoint("10.0.0.2", ready=False, serving=False, terminating=True)
    assert reached(compiling.held(service(), [some(ending, gone)], "")) == {"10.0.0.1:8080"}
    ready = some(endpoint("10.0.0.3"), name="web-2")
    assert reached(compiling.held(service(), [some(ending, gone), ready], "")) == {"10.0.0.3:8080"}


def test_an_internal_traffic_policy_of_local_keeps_to_the_node() -> None:
    slices = [some(endpoint("10.0.0.1", node="here"), endpoint("10.0.0.2", node="there"))]
    assert reached(compiling.held(service(internalTrafficPolicy="Local"), slices, "here")) == {"10.0.0.1:8080"}


def test_a_service_is_dialled_at_external_and_balanced_addresses_too_but_for_those_of_proxies() -> None:
    found = model.service_of(
        {
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {
                "clusterIPs": ["10.96.0.7", "fd00::7"],
                "externalIPs": ["192.0.2.1", "fd00::2%\n"],
                "ports": [{"port": 80}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"ip": "192.0.2.8", "ipMode": "Proxy"}]}},
        }
    )
    assert found.addresses == ("10.96.0.7", "fd00::7", "192.0.2.1", "192.0.2.9")


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName", "externalName": "example.com"}])
def test_what_has_no_address_of_its_own_is_nothing_in_a_kernel(spec: Json) -> None:
    assert not compiling.held(service(**spec), [some(endpoint("10.0.0.1"))], "").ports


def test_affinity_has_its_timeout_and_kubernetes_own_where_it_names_none() -> None:
    assert service(sessionAffinity="ClientIP").affinity_seconds == 10_800
    wanted = {"clientIP": {"timeoutSeconds": 60}}
    assert service(sessionAffinity="ClientIP", sessionAffinityConfig=wanted).affinity_seconds == 60
    assert service().affinity_seconds == 0


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "127.0.0.1", "224.0.0.1", "0.0.0.0", "fe80::1", "fd00::1%x", "not one"]
)
def test_nobody_is_led_to_what_is_no_pods_address(address: str) -> None:
    assert some(endpoint(address)).endpoints == ()


def test_several_slices_and_ports_by_name_come_together() -> None:
    two = service(ports=[{"name": "http", "port": 80}, {"name": "more", "port": 90, "protocol": "UDP"}])
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "more", "port": 9090, "protocol": "UDP"}]
    slices = [
        model.slice_of(
            {
                "metadata": {"namespace": "default", "name": name, "labels": {model.SERVICE_LABEL: "web"}},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [endpoint(address)],
            }
        )
        for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"))
    ]
    http, more = compiling.held(two, slices, "").ports
    assert {(one.address, one.port) for one in http.backends} == {("10.0.0.1", 8080), ("10.0.0.2", 8080)}
    assert {(one.address, one.port) for one in more.backends} == {("10.0.0.1", 9090), ("10.0.0.2", 9090)}
    assert (http.protocol, more.protocol) == ("tcp", "udp")


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["10.0.0.1", "TCP", "IPv4"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["metadata", "spec", "ports", "port", "name", "labels", "endpoints", "addresses", "conditions", "addressType",
         "clusterIPs", "selector", "status", "loadBalancer", "ingress", "sessionAffinityConfig", "protocol"]
    ), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "ports", "endpoints", "addressType"]), _ANYTHING))
def test_no_object_is_too_odd_to_be_read(found: Json) -> None:
    compiling.held(model.service_of(found), [model.slice_of(found)], "")


def test_a_node_is_dialled_at_its_own_addresses_and_at_nothing_that_is_no_machine_elsewhere() -> None:
    said = [("InternalIP", "10.0.0.7"), ("Hostname", "n"), ("ExternalIP", "192.0.2.7"), ("InternalIP", "127.0.0.1")]
    said += [("InternalIP", "169.254.169.254"), ("InternalIP", "10.0.0.7"), ("ExternalIP", "no address")]
    node = {"status": {"addresses": [{"type": kind, "address": address} for kind, address in said]}}
    assert model.addresses_of_node(node) == ("10.0.0.7", "192.0.2.7")
    assert model.addresses_of_node({"status": {"addresses": "none"}}) == ()
