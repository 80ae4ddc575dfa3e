"""The real controller as a process of its own with the ec2 cloud, before EC2 as ec2_front has it, whose instances
really boot on this machine; and a real registry, for plain kubectl.
"""

from __future__ import annotations

import datetime
import json
import secrets
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from controller.clouds.ec2 import calls
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.local.local_settings import LocalSettings
from tests.support.controller import ROOT, Controller, _registry
from tests.support.ec2_cloud import credentials
from tests.support.ec2_front import ACCOUNT, REGION, Ec2Front, ObservedCall, running_front
from tests.support.ec2_instances import REAL, Account, Instances, booting, furnished
from tests.support.ec2_launches import backend
from tests.support.qemu_machines import Hardware
from tests.support.registry import free_port

ZONES = ("us-east-1a", "us-east-1b")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
FLEET = "lease = 10\nheartbeat = 1\n"
LAUNCHING = ("CreateFleet", "RunInstances")


@dataclass(frozen=True)
class ControllerOnEc2:
    """A controller and its EC2."""

    controller: Controller
    front: Ec2Front
    instances: Instances
    account: Account
    aws: Calls
    queue: str

    async def interrupt(self, instance: str, seconds: float = 120.0) -> None:
        """EventBridge warns that a spot instance will be taken in so many seconds: a message in the queue."""
        emitted = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds - 120)
        event = {
            "source": "aws.ec2",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "time": emitted.isoformat(timespec="seconds"),
            "detail": {"instance-id": instance, "instance-action": "terminate"},
        }
        await self.aws.call("sqs", "SendMessage", QueueUrl=self.queue, MessageBody=json.dumps(event))

    def launches(self) -> list[ObservedCall]:
        """The launching calls that were carried out, answered or not."""
        return [call for call in self.front.calls if call.action in LAUNCHING and call.instances and not call.repeated]

    def states(self) -> dict[str, str]:
        """State of each instance that moto ever had."""
        return {one.id: one.state for each in tuple(backend().reservations.values()) for one in each.instances}

    def running(self) -> list[str]:
        """Instances that moto says are running."""
        return [name for name, state in self.states().items() if state == "running"]

    async def tagged(self) -> dict[str, list[str]]:
        """What carries the cluster's tag and costs money: instances that live, volumes, interfaces."""
        mine = [{"Name": "tag-key", "Values": ["chinampa.dev/cluster"]}]
        volumes = (await self.front.ask("DescribeVolumes", Filters=mine)).get("Volumes", [])
        interfaces = (await self.front.ask("DescribeNetworkInterfaces", Filters=mine)).get("NetworkInterfaces", [])
        return {
            "instances": self.running(),
            "volumes": [one["VolumeId"] for one in volumes],
            "interfaces": [one["NetworkInterfaceId"] for one in interfaces],
        }


@asynccontextmanager
async def running_on_ec2(
    folder: Path,
    *,
    real: int = REAL,
    more: str = "",
    fleet: str = FLEET,
    store: str = "",
    also: tuple[str, ...] = (),
    hardware: Hardware | None = None,
    link: str = "",
) -> AsyncGenerator[ControllerOnEc2]:
    """A controller on EC2 with a registry that holds "registry.demo/web:1"; nothing of it is left afterwards.

    `more` is added to the [cloud.ec2] table of its config file, in which a queue of notices is named, `link` to that of
    the link. With `hardware`, its instances are virtual machines. `store` is the table of that name; cells may find
    another controller at the addresses `also`.
    """
    name = secrets.token_hex(3)
    third = int(name[:2], 16)
    gateway = f"10.233.{third}.1"
    local = LocalSettings(
        cluster=f"ec2-{name}",
        root=folder / "cloud",
        bridge=f"ce{name}",
        subnet=f"10.233.{third}.0/24",
        account=ACCOUNT,
        region=REGION,
        path=(str(Path(sys.executable).parent),),
        python_path=(str(ROOT), str(ROOT / "proto")),
        visible=(str(ROOT), sys.prefix, sys.base_prefix),
    )
    registry = free_port()
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(running_front())
        account = await furnished(front, local.subnet, ZONES)
        local = msgspec.structs.replace(local, image=account.image)
        instances = await stack.enter_async_context(booting(front, local, real, hardware=hardware))
        stack.enter_context(credentials())
        settings = Ec2Settings(region=REGION, endpoint_url=front.url, subnets=())
        aws = await stack.enter_async_context(calls.running(settings))
        queue = str((await aws.call("sqs", "CreateQueue", QueueName="notices"))["QueueUrl"])
        config = _config(folder, front, account, instances, f'queue_url = "{queue}"\n{more}')
        (folder / "controller.toml").write_text(
            f'state = "{folder}/state"\ncluster = "{local.cluster}"\n'
            f'{store}[link]\nhost = "{gateway}"\naddresses = {json.dumps([gateway, *also])}\nport = {free_port()}\n'
            f"{link}[api]\nport = {free_port()}\n"
            f"[fleet]\n{fleet}survey = 2\norphan_grace = 2\n"
            f"{config}"
            f'[[registries]]\nhost = "registry.demo"\nmirrors = ["http://{gateway}:{registry}"]\n'
        )
        controller = Controller(folder, local, environment=CREDENTIALS)
        try:
            await controller.start()
            async with _registry(folder, gateway, registry):
                yield ControllerOnEc2(controller, front, instances, account, aws, queue)
        finally:
            front.rules.heal()
            await controller.kill(signal.SIGTERM)


def _config(folder: Path, front: Ec2Front, account: Account, instances: Instances, more: str) -> str:
    certificates = folder / "certificates"
    certificates.mkdir(exist_ok=True)
    (certificates / f"{REGION}.pem").write_bytes(instances.certificate.read_bytes())
    values: dict[str, Any] = {
        "region": REGION,
        "endpoint_url": front.url,
        "subnets": list(account.subnets.values()),
        "certificates": str(certificates),
        "image_amd64": account.image,
        "image_arm64": account.image,
    }
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    return f'[cloud]\nkind = "ec2"\n[cloud.ec2]\n{table}{more}'
