"""The Terraform module of a controller, applied to an account and destroyed again, by Terraform and its AWS provider.

They are no part of what is installed here: where a machine has them (the provider in a mirror that its configuration
names), these run, and otherwise say that they did not.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from controller import config
from tests.support.controller import ROOT
from tests.support.ec2_cloud import CloudStage, stage
from tests.support.terraform import PROVIDER, begun, left, needed, terraform

MODULE = ROOT / "deploy" / "terraform" / "controller"
MODULE_TEXT = """
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


async def furnished(on: CloudStage) -> tuple[str, list[str]]:
    """A VPC whose subnets have a route table of their own."""
    vpc, subnets = on.cloud.environment.vpc, list(on.settings.subnets)
    table = (await on.front.ask("CreateRouteTable", VpcId=vpc))["RouteTable"]["RouteTableId"]
    for each in subnets:
        await on.front.ask("AssociateRouteTable", RouteTableId=table, SubnetId=each)
    return vpc, subnets


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("way", ["nat", "endpoints"])
async def test_it_makes_all_that_a_controller_needs_and_leaves_nothing(tmp_path: Path, way: str) -> None:
    await needed(tmp_path / "needed")
    async with stage(tmp_path) as on:
        vpc, subnets = await furnished(on)
        text = (PROVIDER + MODULE_TEXT).format(
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
        there = await left(on.front, on.cloud.calls.call)
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
        assert await left(on.front, on.cloud.calls.call) == {}


async def test_its_files_are_formatted() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("NOT RUN: there is no terraform here")
    code, out = await terraform(MODULE.parent, "fmt", "-check", "-recursive", "-diff")
    assert code == 0, out
