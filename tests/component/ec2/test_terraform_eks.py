"""The Terraform module of a cluster on EKS, applied and destroyed as far as the tests' EKS goes: it has clusters,
without a security group, and knows neither access entries nor add-ons: those are planned only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from controller import config
from tests.component.ec2.test_terraform import begun, furnished, left, needed, terraform
from tests.support.controller import ROOT
from tests.support.ec2_cloud import stage

MODULE = ROOT / "deploy" / "terraform" / "eks"
TEXT = """
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
    eks    = "{others}"
    events = "{others}"
    iam    = "{others}"
    sqs    = "{others}"
    sts    = "{others}"
  }}
}}
module "eks" {{
  source           = "{module}"
  cluster          = "test"
  vpc_id           = "{vpc}"
  subnet_ids       = {subnets}
  admins           = ["arn:aws:iam::123456789012:role/admin"]
  worker_image     = "ami-03cf127a"
  cell_image_amd64 = "ami-03cf127a"
}}
output "settings" {{ value = module.eks.settings }}
output "user_data" {{ value = module.eks.user_data }}
"""
# What the tests' EKS knows.
TARGETS = (
    "module.eks.aws_eks_cluster.here",
    "module.eks.module.controller",
    "module.eks.aws_iam_role_policy_attachment.worker",
)


@pytest.mark.timeout(1500)
async def test_a_cluster_its_worker_and_nobody_anonymous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await needed(tmp_path / "needed")
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    async with stage(tmp_path) as on:
        vpc, subnets = await furnished(on)
        folder = tmp_path / "terraform"
        module = os.path.relpath(MODULE, folder)
        text = TEXT.format(url=on.front.url, others=on.front.moto, module=module, vpc=vpc, subnets=json.dumps(subnets))
        await begun(folder, text)
        code, out = await terraform(folder, "validate", "-no-color")
        assert code == 0, out
        code, out = await terraform(folder, "plan", "-no-color", "-input=false", "-out", "plan")
        assert code == 0, out
        code, out = await terraform(folder, "show", "-json", "plan")
        planned = json.loads(out[out.index("{") :])["planned_values"]["root_module"]["child_modules"][0]["resources"]
        entries = [one["values"] for one in planned if one["type"] == "aws_eks_access_entry"]
        assert sorted(one["type"] for one in entries) == ["EC2_LINUX", "STANDARD"]
        (cluster,) = [one["values"] for one in planned if one["type"] == "aws_eks_cluster"]
        assert cluster["access_config"][0]["authentication_mode"] == "API"
        assert not cluster["vpc_config"][0]["endpoint_public_access"]

        chosen = [f"-target={one}" for one in TARGETS]
        code, out = await terraform(folder, "apply", "-auto-approve", "-no-color", "-input=false", *chosen)
        assert code == 0, out
        assert {"instances", "queues", "roles"} <= (await left(on)).keys()
        code, out = await terraform(folder, "output", "-json")
        told = json.loads(out)
        settings = config.parse(told["settings"]["value"], "the module's settings")
        assert settings.worker.eks
        said = yaml.safe_load(told["user_data"]["value"])
        install = next(one["content"] for one in said["write_files"] if one["path"].endswith("chinampa-install"))
        kubeconfig = yaml.safe_load(install.split("<<'KUBECONFIG'\n")[1].split("\nKUBECONFIG\n")[0])
        assert kubeconfig["users"][0]["user"]["exec"]["command"].endswith("aws-iam-authenticator")

        code, out = await terraform(folder, "destroy", "-auto-approve", "-no-color", "-input=false")
        assert code == 0, out
        assert await left(on) == {}
