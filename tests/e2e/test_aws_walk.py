"""docs/aws.md from end to end: Terraform makes what a controller needs, it finds nothing amiss and runs a pod in an
instance that really boots, and the way back leaves nothing, counted.

The machine that Terraform buys for the controller boots nothing here: the controller runs on this one, at its address.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from contextlib import AsyncExitStack
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from controller.clouds.ec2 import calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.local.local_settings import LocalSettings
from tests.support.commands import chinampa
from tests.support.controller import ROOT, Controller, _registry
from tests.support.ec2_cloud import IMAGE, credentials
from tests.support.ec2_controller import CREDENTIALS
from tests.support.ec2_front import ACCOUNT, REGION, Ec2Front, running_front
from tests.support.ec2_instances import Account, booting, furnished
from tests.support.manifests import COUNT, pod
from tests.support.registry import free_port
from tests.support.terraform import PROVIDER, begun, left, needed, terraform

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(1500)]

MODULE = """
module "controller" {{
  source               = "{module}"
  cluster              = "{cluster}"
  vpc_id               = "{vpc}"
  subnet_ids           = {subnets}
  controller_subnet_id = "{public}"
  controller_host      = 1
  controller_image     = "ami-03cf127a"
  cell_image_amd64     = "{image}"
  certificates         = "of no use here"
  {way}                = true
  settings             = {settings}
}}
output "settings" {{ value = module.controller.settings }}
output "address" {{ value = module.controller.address }}
"""
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
OUT = {"nat": "gateways", "endpoints": "endpoints"}


async def private(front: Ec2Front, account: Account) -> tuple[str, list[str]]:
    """The subnet of the controller, and those of cells with a table of their own."""
    public, *subnets = account.subnets.values()
    table = (await front.ask("CreateRouteTable", VpcId=account.vpc))["RouteTable"]["RouteTableId"]
    for each in subnets:
        await front.ask("AssociateRouteTable", RouteTableId=table, SubnetId=each)
    return public, subnets


@pytest.mark.parametrize("way", ["nat", "endpoints"])
async def test_from_an_empty_account_to_a_pod_and_back(tmp_path: Path, way: str) -> None:
    await needed(tmp_path / "needed")
    name = secrets.token_hex(3)
    local = LocalSettings(
        cluster=f"walk-{name}",
        root=tmp_path / "cloud",
        bridge=f"cw{name}",
        subnet=f"10.234.{int(name[:2], 16)}.0/24",
        account=ACCOUNT,
        region=REGION,
        path=(str(Path(sys.executable).parent),),
        python_path=(str(ROOT), str(ROOT / "proto")),
        visible=(str(ROOT), sys.prefix, sys.base_prefix),
    )
    gateway, registry = str(next(ip_network(local.subnet).hosts())), free_port()
    folder = tmp_path / "terraform"
    async with AsyncExitStack() as stack:
        stack.enter_context(credentials())
        front = await stack.enter_async_context(running_front())
        account = await furnished(front, local.subnet, ZONES)
        # One of which moto knows the architecture.
        local = msgspec.structs.replace(local, image=IMAGE)
        aws = await stack.enter_async_context(
            calls.running(Ec2Settings(region=REGION, endpoint_url=front.url, subnets=()))
        )
        public, subnets = await private(front, account)
        more = (
            f"[api]\nport = {free_port()}\n[fleet]\nlease = 10\nheartbeat = 1\nsurvey = 2\n"
            f'[[registries]]\nhost = "registry.demo"\nmirrors = ["http://{gateway}:{registry}"]\n'
        )
        text = (PROVIDER + MODULE).format(
            url=front.url,
            others=front.moto,
            module=os.path.relpath(ROOT / "deploy/terraform/controller", folder),
            cluster=local.cluster,
            vpc=account.vpc,
            subnets=json.dumps(subnets),
            public=public,
            image=IMAGE,
            way=way,
            settings=json.dumps(more),
        )
        await begun(folder, text)
        code, out = await terraform(folder, "apply", "-auto-approve", "-no-color", "-input=false")
        assert code == 0, out
        made = {what: len(each) for what, each in (await left(front, aws.call)).items()}
        assert made.keys() == {"instances", "groups", "queues", "rules", "roles", OUT[way]}
        code, out = await terraform(folder, "output", "-json")
        told = {what: one["value"] for what, one in json.loads(out).items()}
        assert told["address"] == gateway

        instances = await stack.enter_async_context(booting(front, local, 1))
        config = tmp_path / "controller.toml"
        config.write_text(
            told["settings"]
            .replace('state = "/var/lib/chinampa"', f'state = "{tmp_path}/state"')
            .replace("[link]", f'[link]\nhost = "{gateway}"')
            .replace('"/etc/chinampa/certificates"', json.dumps(str(instances.certificate.parent)))
            .replace(f'region = "{REGION}"', f'region = "{REGION}"\nendpoint_url = "{front.url}"')
        )
        controller = Controller(tmp_path, local, environment=CREDENTIALS)
        try:
            await controller.start()
            await stack.enter_async_context(_registry(tmp_path, gateway, registry))
            done = await chinampa("doctor", "--cloud", "--config", config)
            assert done.code == 0, done.out + done.err
            assert "lacks" not in done.out, done.out
            await controller.kubectl("apply", "-f", "-", stdin=pod("web", COUNT))
            await controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=120s", seconds=130)
            await controller.logged("web", "line 1\nline 2\n")
            assert instances.booted == {"real": 1}
        finally:
            await controller.kill(signal.SIGTERM)
        launched = await of_the_cluster(front, local.cluster)
        assert launched["instances"] == 1
        print(f"{way}: Terraform made {made}, the controller {launched}")
        listed = await chinampa("teardown", "--config", config, "--dry-run")
        assert "1 instance" in listed.out, listed.out + listed.err
        done = await chinampa("teardown", "--config", config, "--yes")
        assert done.code == 0, done.out + done.err
        print(done.out.splitlines()[-1])
        code, out = await terraform(folder, "destroy", "-auto-approve", "-no-color", "-input=false")
        assert code == 0, out
        assert await left(front, aws.call) == {}
        assert await of_the_cluster(front, local.cluster) == {}


async def of_the_cluster(front: Ec2Front, cluster: str) -> dict[str, int]:
    """How much bears the cluster's tag and is there."""
    mine = [{"Name": "tag:chinampa.dev/cluster", "Values": [cluster]}]
    living = [*mine, {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    found = {
        "instances": (await front.ask("DescribeInstances", Filters=living)).get("Reservations", []),
        "volumes": (await front.ask("DescribeVolumes", Filters=mine)).get("Volumes", []),
        "interfaces": (await front.ask("DescribeNetworkInterfaces", Filters=mine)).get("NetworkInterfaces", []),
        "templates": (await front.ask("DescribeLaunchTemplates", Filters=mine)).get("LaunchTemplates", []),
        "groups": (await front.ask("DescribeSecurityGroups", Filters=mine)).get("SecurityGroups", []),
    }
    return {what: len(each) for what, each in found.items() if each}
