"""What one person may write, all others can still list: tables and overviews take whatever is let in."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cellwire.faults import Fault
from controller.api.all_kinds import KEPT
from controller.api.tables import table, table_of
from controller.objects import admission, quota_rules
from controller.objects.admission import How
from controller.objects.kinds import ENDPOINT_SLICES, ENDPOINTS, QUOTAS
from controller.objects.kinds_without_effect import NETWORK_POLICIES
from controller.objects.resource import Resource
from controller.objects.schema.base import ValueForm
from controller.objects.shapes import LOOSE, ValueShape

_PLAIN: dict[str, Any] = {
    "text": "x",
    "whole": 1,
    "number": 1.0,
    "truth": True,
    "quantity": "1",
    "bytes": "eA==",
    "time": "2026-01-01T00:00:00Z",
    "int-or-string": 1,
}


def some(shape: ValueShape, draw: random.Random, depth: int = 0) -> Any:
    """A value of the shape in which any field may be missing."""
    match shape.form:
        case ValueForm.OBJECT:
            kept = [(name, field) for name, field in shape.fields.items() if depth < 6 and draw.random() < 0.3]
            return {name: some(field.shape, draw, depth + 1) for name, field in kept}
        case ValueForm.LIST:
            return [some(shape.item or LOOSE, draw, depth + 1)]
        case ValueForm.MAP:
            return {"x": some(shape.item or LOOSE, draw, depth + 1)}
        case form:
            return _PLAIN.get(form, "x")


def admitted(resource: Resource, given: dict[str, Any]) -> dict[str, Any]:
    """The object as it would be kept. Raises Fault."""
    given = {**given, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "n"}}
    one = admission.fresh(resource, admission.read(resource, given, How()), "default", 0.0)
    return admission.checked(resource, admission.without(one, "status"), None, How())


@pytest.mark.parametrize(
    "resource", [one for one in KEPT if one.name not in {"nodes", "namespaces"}], ids=lambda one: one.key
)
def test_whatever_is_let_in_can_be_listed(resource: Resource) -> None:
    draw = random.Random(7)
    for _ in range(12):
        given = some(resource.shape, draw)
        if "spec" in resource.shape.fields:
            given.setdefault("spec", {})
        try:
            made = admitted(resource, given)
        except Fault:
            continue
        table(table_of(resource.key), [made], "1", 0.0, "Metadata")


@pytest.mark.parametrize(
    ("resource", "given"),
    [
        (ENDPOINT_SLICES, {}),
        (ENDPOINT_SLICES, {"addressType": "IPv4", "endpoints": [{}]}),
        (ENDPOINT_SLICES, {"addressType": "IPv4", "endpoints": [{"addresses": ["here"]}]}),
        (ENDPOINT_SLICES, {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}] * 1001}),
        (ENDPOINTS, {"subsets": [{"addresses": [{}]}]}),
        (ENDPOINTS, {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 0}]}]}),
    ],
)
def test_what_kubernetes_refuses_of_endpoints_is_refused(resource: Resource, given: dict[str, Any]) -> None:
    with pytest.raises(Fault):
        admitted(resource, given)


def test_a_policy_of_which_an_expression_says_nothing_can_be_listed() -> None:
    bare = {"podSelector": {"matchExpressions": [{}]}}
    table(table_of(NETWORK_POLICIES.key), [admitted(NETWORK_POLICIES, {"spec": bare})], "1", 0.0, "Metadata")


@pytest.mark.parametrize("given", [{}, {"spec": {"scopeSelector": {"matchExpressions": [{}]}, "hard": {"pods": "1"}}}])
def test_a_quota_that_says_nothing_bounds_nothing(given: dict[str, Any]) -> None:
    quota = admitted(QUOTAS, given)
    pod = {"spec": {"containers": []}}
    found = quota_rules.used(quota, [("pods", pod)], lambda _: 0.0)
    assert not any(found.values())
