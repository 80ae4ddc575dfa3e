"""A pod's own names, as a kubelet writes them."""

from __future__ import annotations

from typing import Any

from controller.objects.schema.pods import Pod
from controller.pods.hosts import host_name, hosts_file, needs_file
from controller.pods.run import PodRun
from tests.support.typed_pods import pod_of, spec_of

RUN = PodRun(attempt=0, addresses=("10.8.0.3", "fd00::3"), cell_address="10.8.0.2")
DOMAIN = "cluster.local"


def pod(name: str = "db-0", **spec: Any) -> Pod:
    return pod_of({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})


def test_a_pod_with_a_subdomain_finds_its_full_name_first() -> None:
    lines = hosts_file(pod(subdomain="db"), RUN, DOMAIN).decode().splitlines()
    assert lines[2:] == [
        "10.8.0.3\tdb-0.db.shop.svc.cluster.local\tdb-0",
        "fd00::3\tdb-0.db.shop.svc.cluster.local\tdb-0",
    ]


def test_a_hostname_of_its_own_goes_into_the_full_name_and_aliases_follow() -> None:
    aliases = [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}]
    text = hosts_file(pod(subdomain="db", hostname="first", hostAliases=aliases), RUN, DOMAIN).decode()
    assert "10.8.0.3\tfirst.db.shop.svc.cluster.local\tfirst\n" in text
    assert text.endswith("10.0.0.1\ta\tb\n")


def test_without_names_of_services_a_pod_has_its_short_name() -> None:
    assert "10.8.0.3\tdb-0\n" in hosts_file(pod(subdomain="db"), RUN, "").decode()


def test_the_full_name_becomes_the_host_name_where_it_is_asked_for_and_fits() -> None:
    asked: dict[str, Any] = {"subdomain": "db", "setHostnameAsFQDN": True}
    assert host_name(pod(**asked), DOMAIN) == "db-0.db.shop.svc.cluster.local"
    assert host_name(pod(subdomain="db"), DOMAIN) == "db-0"
    assert host_name(pod(setHostnameAsFQDN=True), DOMAIN) == "db-0"
    assert host_name(pod("x" * 60, **asked), DOMAIN) == "x" * 60


def test_a_long_name_is_cut_where_a_host_name_may_end() -> None:
    assert host_name(pod("a" * 62 + ".b")) == "a" * 62


def test_a_file_is_made_only_where_it_says_more_than_the_cells() -> None:
    assert needs_file(spec_of({"subdomain": "db"}))
    assert needs_file(spec_of({"hostAliases": [{"ip": "10.0.0.1"}]}))
    assert not needs_file(spec_of({}))
    assert not needs_file(spec_of({"subdomain": "db", "hostNetwork": True}))
