"""Terraform and its AWS provider, where this machine has them, on the tests' EC2."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.ec2_front import Ec2Front

Call = Callable[..., Awaitable[dict[str, Any]]]
PROVIDER = """
terraform {{
  required_providers {{
    aws = {{ source = "hashicorp/aws" }}
  }}
}}
provider "aws" {{
  region                      = "us-east-1"
  access_key                  = "testing"
  secret_key                  = "testing"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {{
    ec2    = "{url}"
    eks    = "{url}"
    events = "{others}"
    iam    = "{others}"
    sqs    = "{others}"
    sts    = "{others}"
  }}
}}
"""


async def terraform(folder: Path, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "terraform",
        *words,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


NEEDED = """
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
"""


async def needed(folder: Path) -> None:
    """NOT RUN where this machine lacks Terraform or its AWS provider; asked before anything else is open."""
    if shutil.which("terraform") is None:
        pytest.skip("NOT RUN: there is no terraform here")
    code, out = await prepared(folder, NEEDED)
    if code and "provider" in out:
        pytest.skip("NOT RUN: terraform finds no AWS provider here (name a mirror in its CLI configuration)")
    assert code == 0, out


async def prepared(folder: Path, text: str) -> tuple[int, str]:
    """A folder in which Terraform has what it needs, and what it said to that."""
    folder.mkdir()
    (folder / "main.tf").write_text(text)
    return await terraform(folder, "init", "-input=false", "-no-color")


async def begun(folder: Path, text: str) -> None:
    """A folder in which Terraform has what it needs."""
    code, out = await prepared(folder, text)
    assert code == 0, out


async def left(front: Ec2Front, call: Call) -> dict[str, list[Any]]:
    """What the module makes, as far as it is there."""
    mine = [{"Name": "tag:chinampa.dev/made-by", "Values": ["terraform"]}]
    living = [*mine, {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    found = {
        "instances": (await front.ask("DescribeInstances", Filters=living)).get("Reservations", []),
        "groups": (await front.ask("DescribeSecurityGroups", Filters=mine)).get("SecurityGroups", []),
        "endpoints": [
            each
            for each in (await front.ask("DescribeVpcEndpoints")).get("VpcEndpoints", [])
            if each["State"] not in {"deleted", "deleting"}
        ],
        "gateways": [
            each
            for each in (await front.ask("DescribeNatGateways")).get("NatGateways", [])
            if each["State"] not in {"deleted", "deleting"}
        ],
        "queues": (await call("sqs", "ListQueues")).get("QueueUrls", []),
        "rules": (await call("events", "ListRules")).get("Rules", []),
        "roles": [each for each in (await call("iam", "ListRoles"))["Roles"] if "chinampa" in each["RoleName"]],
    }
    return {name: each for name, each in found.items() if each}
