"""The Terraform modules of a cluster on EKS and of its worker, applied together and destroyed.

An API server is not there: that the worker joins is nothing that this shows.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from controller import config
from tests.component.ec2.test_terraform import furnished
from tests.support.controller import ROOT
from tests.support.ec2_cloud import stage
from tests.support.terraform import PROVIDER, begun, left, needed, terraform

MODULE = ROOT / "deploy" / "terraform" / "eks"
TEXT = (
    PROVIDER
    + """locals {{
  cluster = "test"
  subnets = {subnets}
}}
module "eks" {{
  source      = "{module}"
  cluster     = local.cluster
  subnet_ids  = local.subnets
  admins      = ["{admin}"]
  worker_role = module.worker.role
}}
module "worker" {{
  source                 = "{module}/../controller"
  cluster                = local.cluster
  vpc_id                 = "{vpc}"
  subnet_ids             = local.subnets
  controller_image       = "ami-03cf127a"
  controller_install     = "touch /own-lines\\n${{module.eks.install}}"
  cell_image_amd64       = "ami-03cf127a"
  cluster_security_group = module.eks.security_group
  settings               = module.eks.settings
}}
output "settings" {{ value = module.worker.settings }}
output "user_data" {{ value = module.worker.user_data }}
output "group" {{ value = module.eks.security_group }}
"""
)
TRUST = {"Version": "2012-10-17", "Statement": []}


@pytest.mark.timeout(1800)
async def test_a_cluster_its_worker_and_nobody_anonymous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await needed(tmp_path / "needed")
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    async with stage(tmp_path) as on:
        call = on.cloud.calls.call
        vpc, subnets = await furnished(on)
        admin = await call("iam", "CreateRole", RoleName="admin", AssumeRolePolicyDocument=json.dumps(TRUST))
        folder = tmp_path / "terraform"
        text = TEXT.format(
            url=on.front.url,
            others=on.front.moto,
            module=os.path.relpath(MODULE, folder),
            vpc=vpc,
            subnets=json.dumps(subnets),
            admin=admin["Role"]["Arn"],
        )
        await begun(folder, text)
        code, out = await terraform(folder, "validate", "-no-color")
        assert code == 0, out
        code, out = await terraform(folder, "apply", "-auto-approve", "-no-color", "-input=false")
        assert code == 0, out
        code, out = await terraform(folder, "output", "-json")
        told = {name: one["value"] for name, one in json.loads(out).items()}

        cluster = (await call("eks", "DescribeCluster", name="test"))["cluster"]
        assert cluster["accessConfig"]["authenticationMode"] == "API"
        assert not cluster["resourcesVpcConfig"]["endpointPublicAccess"]
        entries = (await call("eks", "ListAccessEntries", clusterName="test"))["accessEntries"]
        roles = {each["RoleName"]: each["Arn"] for each in (await call("iam", "ListRoles"))["Roles"]}
        assert set(entries) == {roles["admin"], roles["chinampa-test-controller"]}
        there = await left(on.front, call)
        assert {"instances", "queues", "roles"} <= there.keys()
        (launched,) = [each.parameters for each in on.front.calls if each.action == "RunInstances"]
        assert told["group"] in json.dumps(launched)

        settings = config.parse(told["settings"], "the modules' settings")
        assert settings.worker.eks
        said = yaml.safe_load(told["user_data"])
        install = next(one["content"] for one in said["write_files"] if one["path"].endswith("chinampa-install"))
        assert install.index("/own-lines") < install.index("chinampa worker init")
        kubeconfig = yaml.safe_load(install.split("<<'KUBECONFIG'\n")[1].split("\nKUBECONFIG\n")[0])
        assert kubeconfig["clusters"][0]["cluster"]["server"] == cluster["endpoint"]
        assert kubeconfig["users"][0]["user"]["exec"]["command"].endswith("aws-iam-authenticator")

        # What was made is what is described. (Of the machine moto forgets the groups.)
        chosen = ("-target=module.eks", "-detailed-exitcode")
        code, out = await terraform(folder, "plan", *chosen, "-no-color", "-input=false")
        assert code == 0, out
        code, out = await terraform(folder, "destroy", "-auto-approve", "-no-color", "-input=false")
        assert code == 0, out
        assert await left(on.front, call) == {}
        assert not (await call("eks", "ListClusters"))["clusters"]
