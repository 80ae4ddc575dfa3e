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
# What AWS checks where its name is not that of the call.
OTHER_NAME = {"sqs:DeleteMessageBatch": "sqs:DeleteMessage"}
# What AWS checks on the way, though no call of ours bears the name.
IMPLIED = {
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
}


@functools.cache
def operations(service: str) -> frozenset[str]:
    model: Any = botocore.session.get_session().get_service_model(service)
    return frozenset(model.operation_names)


def named() -> Iterator[str]:
    """Every call that the code names: pairs of service and action, and literals that are actions of EC2."""
    for path in sorted(EC2.glob("*.py")):
        if path.name in TABLES:
            continue
        tree = ast.parse(path.read_text())
        paired: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) > 1:
                service, action = text_of(node.args[0]), text_of(node.args[1])
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


def statements() -> list[dict[str, Any]]:
    return json.loads((ROOT / "deploy" / "iam" / "controller.json").read_text())["Statement"]


def test_the_policy_grants_what_the_code_calls_and_nothing_else() -> None:
    granted = {action for statement in statements() for action in statement["Action"]}
    assert granted == needed()


def test_the_document_lists_what_the_policy_grants_and_nothing_else() -> None:
    rows = re.findall(r"^\| `([a-z0-9]+:[A-Za-z]+)` \|", (ROOT / "docs" / "iam.md").read_text(), re.MULTILINE)
    assert set(rows) == needed()


def test_the_collection_sees_calls_by_literal_by_variable_and_of_another_region() -> None:
    assert {"ec2:CreateFleet", "ec2:DeleteVolume", "ecr:GetAuthorizationToken", "pricing:GetProducts"} <= set(named())


def test_nothing_is_ended_or_changed_on_every_resource() -> None:
    for statement in statements():
        reads = all(re.match(r"\w+:(Describe|Get)", action) for action in statement["Action"])
        assert reads or "*" not in statement["Resource"], statement["Sid"]
        if any(re.match(r"ec2:(Terminate|Delete|Modify)", action) for action in statement["Action"]):
            assert statement.get("Condition"), statement["Sid"]


def test_the_policy_is_short_enough_for_a_managed_one() -> None:
    assert len(json.dumps(statements(), separators=(",", ":"))) < 6144
