"""The Terraform module of a controller, applied to an account and destroyed again, by Terraform and its AWS provider.

They are no part of what is installed here: where a machine has them (the provider in a mirror that its configuration
names), these run, and otherwise say that they did not.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from controller import config
from tests.support.controller import ROOT
from tests.support.ec2_cloud import CloudStage, stage

MODULE = ROOT / "deploy" / "terraform" / "controller"
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
    events = "{others}"
    iam    = "{others}"
    sqs    = "{others}"
    sts    = "{others}"
  }}
}}
module "controller" {{
  source           = "{module}"
  cluster          = "test"
  vpc_id           = "{vpc}"
  subnet_ids       = {subnets}
  controller_image = "ami-03cf127a"
  cell_image_amd64 = "ami-03cf127a"
  nat              = {nat}
  endpoints        = {endpoints}
}}
output "settings" {{ value = module.controller.settings }}
output "address" {{ value = module.controller.address }}
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


async def furnished(on: CloudStage) -> tuple[str, list[str]]:
    """A VPC whose subnets have a route table of their own."""
    vpc, subnets = on.cloud.environment.vpc, list(on.settings.subnets)
    table = (await on.front.ask("CreateRouteTable", VpcId=vpc))["RouteTable"]["RouteTableId"]
    for each in subnets:
        await on.front.ask("AssociateRouteTable", RouteTableId=table, SubnetId=each)
    return vpc, subnets


async def left(on: CloudStage) -> dict[str, list[Any]]:
    """What the module makes, as far as it is there."""
    call = on.cloud.calls.call
    mine = [{"Name": "tag:chinampa.dev/made-by", "Values": ["terraform"]}]
    living = [*mine, {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    found = {
        "instances": (await on.front.ask("DescribeInstances", Filters=living)).get("Reservations", []),
        "groups": (await on.front.ask("DescribeSecurityGroups", Filters=mine)).get("SecurityGroups", []),
        "endpoints": [
            each
            for each in (await on.front.ask("DescribeVpcEndpoints")).get("VpcEndpoints", [])
            if each["State"] not in {"deleted", "deleting"}
        ],
        "gateways": [
            each
            for each in (await on.front.ask("DescribeNatGateways")).get("NatGateways", [])
            if each["State"] not in {"deleted", "deleting"}
        ],
        "queues": (await call("sqs", "ListQueues")).get("QueueUrls", []),
        "rules": (await call("events", "ListRules")).get("Rules", []),
        "roles": [each for each in (await call("iam", "ListRoles"))["Roles"] if "chinampa" in each["RoleName"]],
    }
    return {name: each for name, each in found.items() if each}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("way", ["nat", "endpoints"])
async def test_it_makes_all_that_a_controller_needs_and_leaves_nothing(tmp_path: Path, way: str) -> None:
    await needed(tmp_path / "needed")
    async with stage(tmp_path) as on:
        vpc, subnets = await furnished(on)
        text = PROVIDER.format(
            url=on.front.url,
            others=on.front.moto,
            # By a relative path it is read where it stands, with the policy beside it.
            module=os.path.relpath(MODULE, tmp_path / "terraform"),
            vpc=vpc,
            subnets=json.dumps(subnets),
            nat=json.dumps(way == "nat"),
            endpoints=json.dumps(way == "endpoints"),
        )
        await begun(tmp_path / "terraform", text)
        code, out = await terraform(tmp_path / "terraform", "validate", "-no-color")
        assert code == 0, out
        code, out = await terraform(tmp_path / "terraform", "apply", "-auto-approve", "-no-color", "-input=false")
        assert code == 0, out
        there = await left(on)
        assert {"instances", "groups", "queues", "rules", "roles"} <= there.keys()
        assert len(there["rules"]) == 6

        code, out = await terraform(tmp_path / "terraform", "output", "-json")
        told = json.loads(out)
        settings = config.parse(told["settings"]["value"], "the module's settings")
        assert settings.link.addresses == (f"{told['address']['value']}:7443",)
        assert settings.cloud.ec2.queue_url in there["queues"]

        policies = (await on.cloud.calls.call("iam", "ListPolicies", Scope="Local"))["Policies"]
        (policy,) = [each for each in policies if each["PolicyName"] == "chinampa-test-controller"]
        version = await on.cloud.calls.call(
            "iam", "GetPolicyVersion", PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"]
        )
        written = json.dumps(version["PolicyVersion"]["Document"])
        words = ("PARTITION", "REGION", "ACCOUNT", "CLUSTER", "VPC", "QUEUE", "CELL_ROLE")
        assert not [word for word in words if f":{word}" in written or f'"{word}"' in written or f"/{word}" in written]
        assert len(written.replace(" ", "")) < 6144

        code, out = await terraform(tmp_path / "terraform", "destroy", "-auto-approve", "-no-color", "-input=false")
        assert code == 0, out
        assert await left(on) == {}


async def test_its_files_are_formatted() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("NOT RUN: there is no terraform here")
    code, out = await terraform(MODULE.parent, "fmt", "-check", "-recursive", "-diff")
    assert code == 0, out
