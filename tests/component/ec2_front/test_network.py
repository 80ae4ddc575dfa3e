"""The network of EC2's instances is what the API says of it: groups, checks, routes and public addresses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault
from hostkit import programs
from tests.component.ec2_front.test_instances import account
from tests.component.local.test_vpc import dial, listening
from tests.support.ec2_instances import Account, Instances

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="instances need root")
SLEEP = "#!/bin/sh\nexec sleep 600\n"
BEYOND = "203.0.113.20"
ROUTED = "10.250.1.0/24"


async def launch(ec2: Any, made: Account, **more: Any) -> str:
    interface = {"DeviceIndex": 0, "SubnetId": next(iter(made.subnets.values())), "SecondaryPrivateIpAddressCount": 1}
    answer = await ec2.run_instances(
        ImageId=made.image, InstanceType="t3.micro", MinCount=1, MaxCount=1, UserData=SLEEP,
        NetworkInterfaces=[interface | more],
    )  # fmt: skip
    return answer["Instances"][0]["InstanceId"]


async def address_of(ec2: Any, instance: str) -> str:
    found = await ec2.describe_instances(InstanceIds=[instance])
    return found["Reservations"][0]["Instances"][0]["PrivateIpAddress"]


def inside(instances: Instances, instance: str) -> list[str]:
    return ["nsenter", f"--net=/proc/{instances.pid(instance)}/ns/net"]


async def booted(instances: Instances, count: int) -> None:
    while instances.booted["real"] < count:
        assert not instances.failed
        await asyncio.sleep(0.02)


async def until(come_true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await come_true():
            await asyncio.sleep(0.05)


async def reaches(before: list[str], there: str) -> bool:
    try:
        return bool(await dial(before, there, seconds=0.5))
    except Fault:
        return False


async def test_a_group_admits_what_its_rules_name_and_nobody_else(tmp_path: Path) -> None:
    async with account(tmp_path, 3) as (_, ec2, made, instances):
        group = (await ec2.create_security_group(GroupName="web", Description="web", VpcId=made.vpc))["GroupId"]
        web, plain = await launch(ec2, made, Groups=[group]), await launch(ec2, made)
        await booted(instances, 2)
        there = await address_of(ec2, web)
        async with listening(inside(instances, web), there):
            assert not await reaches(inside(instances, plain), there)
            assert not await reaches([], there)

            rule = {"IpProtocol": "tcp", "FromPort": 7, "ToPort": 7, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
            await ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
            await until(lambda: reaches(inside(instances, plain), there))
            assert await reaches([], there)

            await ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])

            async def shut() -> bool:
                return not await reaches([], there)

            await until(shut)


async def test_members_of_the_default_group_and_the_controllers_machine_reach_each_other(tmp_path: Path) -> None:
    async with account(tmp_path, 2) as (_, ec2, made, instances):
        one, other = await launch(ec2, made), await launch(ec2, made)
        await booted(instances, 2)
        there = await address_of(ec2, other)
        async with listening(inside(instances, other), there):
            assert await dial(inside(instances, one), there) == await address_of(ec2, one)
            assert await dial([], there)


async def test_a_route_leads_to_an_instance_only_once_it_checks_no_destinations(tmp_path: Path) -> None:
    async with account(tmp_path, 2) as (_, ec2, made, instances):
        one, other = await launch(ec2, made), await launch(ec2, made)
        await booted(instances, 2)
        far = ROUTED.replace(".0/24", ".9")
        await programs.check([*inside(instances, other), "ip", "address", "add", f"{far}/32", "dev", "lo"])
        await ec2.create_route(RouteTableId=made.route_table, DestinationCidrBlock=ROUTED, InstanceId=other)
        async with listening(inside(instances, other), far):
            assert not await reaches(inside(instances, one), far)

            await ec2.modify_instance_attribute(InstanceId=other, SourceDestCheck={"Value": False})

            await until(lambda: reaches(inside(instances, one), far))


async def test_a_public_address_is_that_of_the_first_private_one_alone(tmp_path: Path) -> None:
    async with account(tmp_path, 1) as (_, ec2, made, instances):
        instance = await launch(ec2, made, AssociatePublicIpAddress=True)
        await booted(instances, 1)
        told = (await ec2.describe_instances(InstanceIds=[instance]))["Reservations"][0]["Instances"][0]
        second = told["NetworkInterfaces"][0]["PrivateIpAddresses"][1]["PrivateIpAddress"]
        here = inside(instances, instance)
        await programs.check(["ip", "address", "replace", f"{BEYOND}/32", "dev", "lo"])
        await programs.check([*here, "ip", "address", "add", f"{second}/32", "dev", "lo"])
        async with listening([], BEYOND):
            assert await dial(here, BEYOND) == told["PublicIpAddress"]
            with pytest.raises(Fault, match="timed out"):
                await dial(here, BEYOND, second, seconds=1)
