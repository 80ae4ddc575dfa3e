"""The rights that are documented are those that the policy grants and those that the code needs: all three alike."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session

ROOT = Path(__file__).resolve().parents[3]
EC2 = ROOT / "controller" / "clouds" / "ec2"
# These hold tables of actions; they call none of their own.
TABLES = {"buckets.py", "calls.py", "errors.py"}
# What a person does, with rights of their own.
BY_PEOPLE = ("cluster_teardown.py", "machine_images")
# What AWS checks where its name is not that of the call.
OTHER_NAME = {
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "service-quotas:GetServiceQuota": "servicequotas:GetServiceQuota",
}
# What AWS checks on the way, though no call of ours bears the name.
IMPLIED = {
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:BatchImportUpstreamImage",
    "ecr:CreateRepository",
    "ecr:GetDownloadUrlForLayer",
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
}
# Publishing says its calls in other ways than the rest.
PUBLISHING = {
    "ebs:CompleteSnapshot",
    "ebs:PutSnapshotBlock",
    "ebs:StartSnapshot",
    "ec2:CopyImage",
    "ec2:CreateTags",
    "ec2:RegisterImage",
}


@functools.cache
def operations(service: str) -> frozenset[str]:
    model: Any = botocore.session.get_session().get_service_model(service)
    return frozenset(model.operation_names)


def named(*, by_people: bool = False) -> Iterator[str]:
    """Every call that the code names: pairs of service and action, and literals that are actions of EC2."""
    for path in sorted(EC2.rglob("*.py")):
        if path.name in TABLES or by_people != any(each in BY_PEOPLE for each in path.relative_to(EC2).parts):
            continue
        tree = ast.parse(path.read_text())
        paired: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) > 1:
                # A service in a variable is EC2 in one region or another.
                service, action = text_of(node.args[0]) or "ec2", text_of(node.args[1])
                if node.func.attr in {"call", "pages"} and action:
                    paired.add(id(node.args[1]))
                    assert action in operations(service), f"{path.name}: {service} has no {action}"
                    yield f"{service}:{action}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in paired and node.value in operations("ec2"):
                yield f"ec2:{node.value}"


def text_of(node: ast.expr) -> str:
    """A literal, or what stands before "@" in one that names a region too."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    return str(node.value).partition("@")[0] if isinstance(node, ast.Constant) else ""


def needed() -> set[str]:
    return {OTHER_NAME.get(each, each) for each in named()} | IMPLIED


def statements(name: str = "controller") -> list[dict[str, Any]]:
    return json.loads((ROOT / "deploy" / "iam" / f"{name}.json").read_text())["Statement"]


def granted(name: str = "controller") -> set[str]:
    return {action for statement in statements(name) for action in statement["Action"]}


def listed() -> tuple[set[str], set[str]]:
    """The actions of the document's first table, and those of its second."""
    first, second = (ROOT / "docs" / "iam.md").read_text().split("## What a person may do")
    rows = "".join(re.findall(r"^\| (`.*?) \|", second, re.MULTILINE))
    return set(re.findall(r"^\| `([a-z0-9]+:[A-Za-z]+)` \|", first, re.MULTILINE)), set(
        re.findall(r"`(\w+:\w+)`", rows)
    )


def test_the_policy_grants_what_the_code_calls_and_nothing_else() -> None:
    assert granted() == needed()


def test_people_may_do_what_publishing_and_teardown_call_and_nothing_else() -> None:
    assert granted("operator") == set(named(by_people=True)) | PUBLISHING


def test_the_controllers_own_rights_do_for_a_teardown_that_leaves_images() -> None:
    of_images = {"ec2:DescribeSnapshots", "ec2:DeregisterImage", "ec2:DeleteSnapshot"}
    assert set(named(by_people=True)) - of_images - PUBLISHING <= granted()


def test_the_document_lists_what_the_policies_grant_and_nothing_else() -> None:
    assert listed() == (needed(), granted("operator"))


def test_the_policies_hold_in_every_partition() -> None:
    for name in ("controller", "operator"):
        text = json.dumps(statements(name))
        assert set(re.findall(r"arn:([^:]+):", text)) == {"PARTITION"}


def test_the_collection_sees_calls_by_literal_by_variable_and_of_another_region() -> None:
    assert {"ec2:CreateFleet", "ec2:DeleteVolume", "ecr:GetAuthorizationToken", "pricing:GetProducts"} <= set(named())


def test_nothing_is_ended_or_changed_on_every_resource() -> None:
    for statement in (*statements(), *statements("operator")):
        reads = all(re.match(r"\w+:(Describe|Get|List)", action) for action in statement["Action"])
        assert reads or "*" not in statement["Resource"], statement["Sid"]
        if any(re.match(r"ec2:(Terminate|Delete|Modify)", action) for action in statement["Action"]):
            assert statement.get("Condition"), statement["Sid"]


def test_the_policy_is_short_enough_for_a_managed_one() -> None:
    assert len(json.dumps(statements(), separators=(",", ":"))) < 6144
