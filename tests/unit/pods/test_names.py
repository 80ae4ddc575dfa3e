"""How a pod finds Services: its resolver and its variables, as a kubelet has them."""

from __future__ import annotations

from typing import Any

from controller.pods import dns_policy, variables
from tests.support.typed_pods import spec_of

Json = dict[str, Any]


def resolver(**spec: Any) -> tuple[list[str], list[str], list[str]]:
    found = dns_policy.config(spec_of(spec), "team", "cluster.local")
    assert found is not None
    return list(found.servers), list(found.searches), list(found.options)


def test_the_search_path_is_that_of_a_kubelet() -> None:
    servers, searches, options = resolver()
    assert servers == [dns_policy.FORWARDER]
    assert searches == ["team.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    assert options == ["ndots:5"]


def test_what_a_pod_says_itself_is_added_and_wins() -> None:
    own = {
        "nameservers": ["192.0.2.1"],
        "searches": ["x.test", "cluster.local"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    servers, searches, options = resolver(dnsConfig=own)
    assert servers == [dns_policy.FORWARDER, "192.0.2.1"]
    assert searches[-2:] == ["cluster.local", "x.test"]
    assert options == ["ndots:2", "edns0"]
    assert resolver(dnsPolicy="None", dnsConfig=own)[0] == ["192.0.2.1"]


def test_some_pods_have_the_resolver_of_their_cell() -> None:
    assert dns_policy.config(spec_of({"dnsPolicy": "Default"}), "team", "cluster.local") is None
    assert dns_policy.config(spec_of({"hostNetwork": True}), "team", "cluster.local") is None
    assert dns_policy.config(spec_of({}), "team", "") is None


def test_service_links_are_the_kubelets() -> None:
    spec: Json = {"clusterIP": "10.96.0.7", "ports": [{"name": "web", "port": 80}, {"port": 53, "protocol": "UDP"}]}
    headless = {"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}
    found = variables.service_links([{"metadata": {"name": "my-app"}, "spec": spec}, headless])
    assert found == {
        "MY_APP_SERVICE_HOST": "10.96.0.7",
        "MY_APP_SERVICE_PORT": "80",
        "MY_APP_SERVICE_PORT_WEB": "80",
        "MY_APP_PORT": "tcp://10.96.0.7:80",
        "MY_APP_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_APP_PORT_80_TCP_PROTO": "tcp",
        "MY_APP_PORT_80_TCP_PORT": "80",
        "MY_APP_PORT_80_TCP_ADDR": "10.96.0.7",
        "MY_APP_PORT_53_UDP": "udp://10.96.0.7:53",
        "MY_APP_PORT_53_UDP_PROTO": "udp",
        "MY_APP_PORT_53_UDP_PORT": "53",
        "MY_APP_PORT_53_UDP_ADDR": "10.96.0.7",
    }
