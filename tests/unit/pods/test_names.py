"""How a pod finds Services: its resolver and its variables, as a kubelet has them."""

from __future__ import annotations

from typing import Any

from controller.pods import dns_policy, variables
from controller.pods.run import PodRun
from controller.pods.variables import VariableSources, environment
from tests.support.typed_pods import pod_of, spec_of

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


def test_what_a_pod_says_itself_wins_over_objects_and_they_over_services_and_the_api() -> None:
    service = {"metadata": {"name": "db"}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 5432}]}}
    held = {"data": {"DB_SERVICE_PORT": "1", "DB_SERVICE_HOST": "held", "KUBERNETES_SERVICE_PORT": "2"}}
    sources = VariableSources(lambda *_: held, lambda namespace: [service] * (namespace == "team"), "10.8.0.1", 6443)
    env = [{"name": "DB_SERVICE_HOST", "value": "own.$(KUBERNETES_SERVICE_HOST)"}]
    container = {"name": "web", "image": "b", "envFrom": [{"configMapRef": {"name": "settings"}}], "env": env}

    def found(**spec: Any) -> Json:
        pod = pod_of({"metadata": {"name": "web", "namespace": "team"}, "spec": {"containers": [container], **spec}})
        return environment(pod, pod.spec.containers[0], PodRun(), sources)

    linked = found()
    assert (linked["DB_SERVICE_HOST"], linked["DB_SERVICE_PORT"]) == ("own.10.8.0.1", "1")
    assert (linked["KUBERNETES_SERVICE_HOST"], linked["KUBERNETES_SERVICE_PORT"]) == ("10.8.0.1", "2")
    assert linked["DB_PORT"] == "tcp://10.96.0.9:5432"
    assert "DB_PORT" not in found(enableServiceLinks=False)
