"""What each role may, for every verb and subresource; and which annotations are whose."""

from __future__ import annotations

from typing import Any

import pytest

from cellwire.faults import Fault
from controller.api.people import Who, impersonates, refusal, wanted
from controller.api.restricted import CHECKS, check
from controller.pods.kind import PODS

POD = "/api/v1/namespaces/ci/pods/web"
PATHS = {
    "read": ("GET", POD),
    "list": ("GET", "/api/v1/namespaces/ci/pods"),
    "log": ("GET", f"{POD}/log"),
    "top": ("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/ci/pods"),
    "create": ("POST", "/api/v1/namespaces/ci/pods"),
    "replace": ("PUT", POD),
    "patch": ("PATCH", POD),
    "delete": ("DELETE", POD),
    "delete all": ("DELETE", "/api/v1/namespaces/ci/pods"),
    "exec": ("GET", f"{POD}/exec"),
    "exec by post": ("POST", f"{POD}/exec"),
    "attach": ("GET", f"{POD}/attach"),
    "port-forward": ("GET", f"{POD}/portforward"),
    "proxy": ("GET", f"{POD}:80/proxy/index.html"),
    "proxy of a service": ("GET", "/api/v1/namespaces/ci/services/s:80/proxy/index.html"),
    "debug": ("PATCH", f"{POD}/ephemeralcontainers"),
    "evict": ("POST", f"{POD}/eviction"),
    "scale": ("PATCH", "/apis/apps/v1/namespaces/ci/deployments/d/scale"),
    "secrets": ("GET", "/api/v1/namespaces/ci/secrets"),
    "token": ("POST", "/api/v1/namespaces/ci/serviceaccounts/a/token"),
    "quota": ("GET", "/api/v1/namespaces/ci/resourcequotas"),
    "own namespace": ("GET", "/api/v1/namespaces/ci"),
    "review": ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
    "change quota": ("PATCH", "/api/v1/namespaces/ci/resourcequotas/q"),
    "delete quotas": ("DELETE", "/api/v1/namespaces/ci/resourcequotas"),
    "change own namespace": ("PATCH", "/api/v1/namespaces/ci"),
    "status of own namespace": ("PATCH", "/api/v1/namespaces/ci/status"),
    "end of own namespace": ("PUT", "/api/v1/namespaces/ci/finalize"),
    "roles": ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/ci/rolebindings"),
    "elsewhere": ("GET", "/api/v1/namespaces/other/pods"),
    "everywhere": ("GET", "/api/v1/pods"),
    "nodes": ("GET", "/api/v1/nodes"),
    "namespaces": ("GET", "/api/v1/namespaces"),
    "new namespace": ("POST", "/api/v1/namespaces"),
}
_READS = {"read", "list", "log", "top", "quota", "own namespace", "review"}
_WRITES = {
    *("create", "replace", "patch", "delete", "delete all", "exec", "exec by post", "attach", "port-forward", "proxy"),
    *("debug", "evict", "scale", "secrets", "token", "proxy of a service"),
}
_ABROAD = {"elsewhere", "everywhere", "nodes", "namespaces"}
ROLES = {
    ("view", "ci"): _READS,
    ("edit", "ci"): _READS | _WRITES,
    ("admin", "ci"): _READS | _WRITES | {"roles"},
    ("view", ""): _READS | _ABROAD,
    ("edit", ""): _READS | _WRITES | _ABROAD,
    ("admin", ""): set(PATHS),
}


@pytest.mark.parametrize(("role", "namespace"), list(ROLES))
def test_a_role_may_what_it_may_and_nothing_else(role: str, namespace: str) -> None:
    who = Who(name="token:x", role=role, namespace=namespace)
    asked = {name: wanted(method, path, watch=False) for name, (method, path) in PATHS.items()}
    assert {name for name, one in asked.items() if one is not None and not refusal(who, one)} == ROLES[role, namespace]


def _pod(**annotations: str) -> dict[str, Any]:
    named = {f"chinampa.dev/{name.replace('_', '-')}": text for name, text in annotations.items()}
    return {"metadata": {"name": "p", "annotations": named}, "spec": {}}


def _deployment(pod: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "d"}, "spec": {"template": pod}}


EDIT, ADMIN = Who(name="e", role="edit", namespace="ci"), Who(name="a", role="admin")
ALLOWED = {
    "cloud-route": ("10.8.0.0/16", "fd00::/8"),
    "security-groups": ("sg-1", "sg-2"),
    "capacity-reservation": ("cr-1",),
}
TAKEN = [
    _pod(cloud_route="10.8.3.0/24"),
    _pod(cloud_route="10.8.3.0/24, fd00:1::/64"),
    _pod(security_groups="sg-1,sg-2"),
    _pod(public_address="false", metadata="false"),
    _pod(capacity_reservation="cr-1"),
    {"metadata": {"name": "p"}},
]
REFUSED = [
    _pod(cloud_route="0.0.0.0/0"),
    _pod(cloud_route="10.8.0.0/16,10.9.0.0/24"),
    _pod(cloud_route="::/0"),
    _pod(security_groups="sg-1,sg-3"),
    _pod(instance_profile="admin"),
    _pod(capacity_reservation="cr-2"),
    _pod(public_address="true"),
    _pod(metadata="true"),
]


@pytest.mark.parametrize("one", TAKEN)
def test_values_of_the_settings_are_everybodys(one: dict[str, Any]) -> None:
    check(EDIT, ALLOWED, PODS, None, one)
    check(EDIT, ALLOWED, PODS, None, _deployment(one))


@pytest.mark.parametrize("one", REFUSED)
def test_other_values_are_the_admins(one: dict[str, Any]) -> None:
    for written in (one, _deployment(one), {"metadata": {}, "spec": {"jobTemplate": _deployment(one)}}):
        with pytest.raises(Fault, match=r"may have the values of api|may be \"false\" only, unless api"):
            check(EDIT, ALLOWED, PODS, None, written)
        check(ADMIN, ALLOWED, PODS, None, written)
        check(EDIT, dict.fromkeys(CHECKS, ("*",)), PODS, None, written)


def test_what_an_admin_has_written_may_stay_while_others_change_the_rest() -> None:
    before = _deployment(_pod(instance_profile="admin"))
    check(EDIT, {}, PODS, before, {**before, "metadata": {"name": "d", "labels": {"a": "b"}}})
    with pytest.raises(Fault, match="it lists none"):
        check(EDIT, {}, PODS, before, _deployment(_pod(instance_profile="other")))


@pytest.mark.parametrize(
    "name", ["Impersonate-User", "Impersonate-Group", "impersonate-uid", "Impersonate-Extra-Scopes"]
)
def test_whatever_names_somebody_else_as_who_acts_is_seen(name: str) -> None:
    assert impersonates({"Accept": "*/*", name: "system:masters"})
    assert not impersonates({"Accept": "*/*", name: ""})
