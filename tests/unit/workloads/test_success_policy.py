"""Success policies of indexed jobs: which rule is met, and which rules make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.all_kinds import WORKLOADS
from controller.objects import admission
from controller.objects.fields import Invalid
from controller.workloads import jobs

Json = dict[str, Any]
TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}
JOBS = next(row for row in WORKLOADS if row.key == "jobs.batch")


def job(*rules: Json, **spec: Any) -> Json:
    full = {"completions": 4, "parallelism": 4, "completionMode": "Indexed", "successPolicy": {"rules": list(rules)}}
    named = {"name": "it", "namespace": "n"}
    one = {"apiVersion": "batch/v1", "kind": "Job", "metadata": named, "spec": {**full, "template": TEMPLATE, **spec}}
    return admission.checked(JOBS, admission.fresh(JOBS, one, "n", 0.0), None, admission.How())


def met(one: Json, succeeded: set[int]) -> str | None:
    """What the job says once these indexes have succeeded."""
    one["status"] = {"startTime": "2026-11-29T00:00:00Z", "completedIndexes": jobs.folded(succeeded)}
    status = jobs.plan(one, [], 1_764_374_400.0).status or {}
    told = {each["type"]: each["message"] for each in status.get("conditions") or ()}
    assert ("SuccessCriteriaMet" in told) == ("Complete" in told)
    return told.get("SuccessCriteriaMet")


@pytest.mark.parametrize(
    ("rules", "succeeded", "rule"),
    [
        ([{"succeededIndexes": "0"}], {0}, 0),
        ([{"succeededIndexes": "0,2"}], {0, 1, 3}, None),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], {0, 2}, 0),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], {0, 3}, None),
        ([{"succeededIndexes": "3"}, {"succeededCount": 2}], {0, 1}, 1),
        ([{"succeededCount": 0}], set[int](), None),
    ],
)
def test_a_job_has_succeeded_by_the_first_rule_that_is_met(rules: list[Json], succeeded: set[int], rule: int) -> None:
    assert met(job(*rules), succeeded) == (None if rule is None else f"Matched rules at index {rule}")


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({}, "spec.successPolicy.rules[0]"),
        ({"succeededIndexes": ""}, "spec.successPolicy.rules[0].succeededIndexes"),
        ({"succeededIndexes": "2,1"}, "spec.successPolicy.rules[0].succeededIndexes"),
        ({"succeededIndexes": "0-4"}, "spec.successPolicy.rules[0].succeededIndexes"),
        ({"succeededIndexes": "a"}, "spec.successPolicy.rules[0].succeededIndexes"),
        ({"succeededIndexes": "0-1", "succeededCount": 3}, "spec.successPolicy.rules[0].succeededCount"),
        ({"succeededCount": 5}, "spec.successPolicy.rules[0].succeededCount"),
    ],
)
def test_a_rule_that_can_never_be_met_is_refused_by_its_field(rule: Json, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        job(rule)
    assert [cause.field for cause in refused.value.causes] == [field]


def test_only_an_indexed_job_has_a_success_policy() -> None:
    with pytest.raises(Invalid, match="requires indexed completion mode"):
        job({"succeededCount": 1}, completionMode="NonIndexed")
    with pytest.raises(Invalid, match="between 1 and 20"):
        job()
