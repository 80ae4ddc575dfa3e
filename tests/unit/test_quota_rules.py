"""What pods take of quotas, and in which words they are refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from controller.objects import quota_rules as rules


def quota(hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard, **spec}}


def pod(requests: dict[str, Any] | None = None, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    resources = {"requests": requests or {}, "limits": spec.pop("limits", {})}
    containers = [{"name": "a", "resources": resources}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}, "status": {"phase": phase}}


def refused(bound: dict[str, Any], new: dict[str, Any], *there: dict[str, Any], usd: float = 0.5) -> str:
    listed = [("pods", one) for one in there]
    asked = rules.taken("pods", new, lambda _: usd)
    return rules.refusal(bound, "pods", new, rules.used(bound, listed, lambda _: usd), asked)


@pytest.mark.parametrize(
    ("hard", "requests", "wanted"),
    [
        ({"pods": "1"}, {}, "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"),
        (
            {"count/pods": "1"},
            {},
            "exceeded quota: q, requested: count/pods=1, used: count/pods=1, limited: count/pods=1",
        ),
        (
            {"requests.cpu": "1", "pods": "9"},
            {"cpu": "600m"},
            "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1",
        ),
        (
            {"memory": "1Gi"},
            {"memory": "640Mi"},
            "exceeded quota: q, requested: memory=640Mi, used: memory=640Mi, limited: memory=1Gi",
        ),
        (
            {"requests.nvidia.com/gpu": "1"},
            {"nvidia.com/gpu": 1},
            (
                "exceeded quota: q, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1, limited:"
                " requests.nvidia.com/gpu=1"
            ),
        ),
        (
            {rules.USD_PER_HOUR: "0.75"},
            {},
            (
                "exceeded quota: q, requested: chinampa.dev/usd-per-hour=0.5, used: chinampa.dev/usd-per-hour=0.5,"
                " limited: chinampa.dev/usd-per-hour=0.75"
            ),
        ),
    ],
)
def test_whoever_exceeds_a_quota_is_told_the_numbers(
    hard: dict[str, str], requests: dict[str, Any], wanted: str
) -> None:
    assert not refused(quota(hard), pod(requests))
    assert refused(quota(hard), pod(requests), pod(requests)) == wanted


def test_a_pod_that_has_ended_takes_nothing_but_its_count() -> None:
    over = pod({"cpu": "1"}, phase="Succeeded")
    assert not refused(quota({"pods": "1", "cpu": "1"}), pod({"cpu": "1"}), over)
    assert refused(quota({"count/pods": "1"}), pod(), over)


def test_a_quota_of_resources_wants_them_to_be_said() -> None:
    assert refused(quota({"limits.memory": "1Gi", "cpu": "1"}), pod()) == (
        "failed quota: q: must specify cpu for: a; limits.memory for: a"
    )


@pytest.mark.parametrize(
    ("scopes", "one", "concerned"),
    [
        (["BestEffort"], pod(), True),
        (["BestEffort"], pod({"cpu": "1"}), False),
        (["NotBestEffort"], pod({"cpu": "1"}), True),
        (["Terminating"], pod(activeDeadlineSeconds=5), True),
        (["NotTerminating"], pod(activeDeadlineSeconds=5), False),
        (["NotTerminating", "BestEffort"], pod(), True),
    ],
)
def test_a_quota_holds_within_its_scopes(scopes: list[str], one: dict[str, Any], *, concerned: bool) -> None:
    assert rules.concerns(quota({"pods": "1"}, scopes=scopes), "pods", one) == concerned


def test_a_scope_can_name_priority_classes() -> None:
    wanted = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
    bound = quota({"pods": "1"}, scopeSelector=wanted)
    assert rules.concerns(bound, "pods", pod(priorityClassName="high"))
    assert not rules.concerns(bound, "pods", pod())
    assert not rules.concerns(bound, "secrets", {})


def test_services_are_counted_by_their_type() -> None:
    found = rules.taken("services", {"spec": {"type": "LoadBalancer"}}, lambda _: 0.0)
    assert found.keys() == {"count/services", "services", "services.loadbalancers", "services.nodeports"}


@pytest.mark.parametrize(
    ("name", "amount", "like", "wanted"),
    [
        ("memory", "1073741824", "4Gi", "1Gi"),
        ("cpu", "1.5", "2", "1500m"),
        ("memory", "0", "1Gi", "0"),
        ("pods", "3", "5", "3"),
        (rules.USD_PER_HOUR, "0.0145", "20m", "0.0145"),
        (rules.USD_PER_HOUR, "5", "5", "5"),
    ],
)
def test_amounts_are_written_as_the_quota_is(name: str, amount: str, like: str, wanted: str) -> None:
    assert rules.written(name, Decimal(amount), like) == wanted
