"""EC2's behaviour in front of moto, as a client sees it: every test speaks to it with aiobotocore."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import botocore.exceptions
import pytest
from botocore.config import Config

from controller.clouds.ec2 import calls
from tests.support.ec2_front import Ec2Front, running_front

IMAGE = "ami-03cf127a"
ZONES = ("us-east-1a", "us-east-1b")


class Clock:
    """Stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    front: Ec2Front
    ec2: Any
    clock: Clock
    subnets: dict[str, str]
    template: str

    async def run(self, count: int = 1, **more: Any) -> list[str]:
        answer = await self.ec2.run_instances(
            ImageId=IMAGE, InstanceType="t3.small", MinCount=count, MaxCount=count, **more
        )
        return [one["InstanceId"] for one in answer["Instances"]]

    async def fleet(self, count: int, *wanted: tuple[str, str, float], market: str = "on-demand", **more: Any) -> Any:
        overrides = [
            {"InstanceType": type_, "SubnetId": self.subnets[zone], "Priority": priority}
            for type_, zone, priority in wanted
        ]
        return await self.ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {"LaunchTemplateName": "cells", "Version": "$Latest"},
                    "Overrides": overrides,
                }
            ],
            TargetCapacitySpecification={"TotalTargetCapacity": count, "DefaultTargetCapacityType": market},
            OnDemandOptions={"AllocationStrategy": "prioritized"},
            SpotOptions={"AllocationStrategy": "capacity-optimized-prioritized"},
            **more,
        )

    async def instances(self) -> list[Any]:
        found = await self.ec2.describe_instances()
        return [one for reservation in found["Reservations"] for one in reservation["Instances"]]


@asynccontextmanager
async def stage() -> AsyncGenerator[Stage]:
    clock = Clock()
    async with running_front(clock) as front, client(front, "ec2") as ec2:
        vpc = (await ec2.create_vpc(CidrBlock="10.240.0.0/24"))["Vpc"]["VpcId"]
        subnets: dict[str, str] = {}
        for number, zone in enumerate(ZONES):
            made = await ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.240.0.{number * 64}/26", AvailabilityZone=zone)
            subnets[zone] = made["Subnet"]["SubnetId"]
        group = (await ec2.create_security_group(GroupName="cells", Description="cells", VpcId=vpc))["GroupId"]
        made = await ec2.create_launch_template(
            LaunchTemplateName="cells",
            LaunchTemplateData={
                "ImageId": IMAGE,
                "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
                "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
                "BlockDeviceMappings": [
                    {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "Encrypted": True, "VolumeType": "gp3"}}
                ],
                "NetworkInterfaces": [
                    {
                        "DeviceIndex": 0,
                        "Groups": [group],
                        "SecondaryPrivateIpAddressCount": 1,
                        "DeleteOnTermination": True,
                    }
                ],
                "TagSpecifications": [
                    {"ResourceType": kind, "Tags": [{"Key": "cluster", "Value": "test"}]}
                    for kind in ("instance", "volume", "network-interface")
                ],
            },
        )
        front.calls.clear()
        yield Stage(front, ec2, clock, subnets, made["LaunchTemplate"]["LaunchTemplateId"])


def client(front: Ec2Front, service: str) -> Any:
    """An aiobotocore client that asks once."""
    session: Any = calls.sdk_session()
    session.set_credentials("test", "test")
    session.set_config_variable("region", "us-east-1")
    return session.create_client(
        service, endpoint_url=front.url, config=Config(retries={"total_max_attempts": 1}, read_timeout=60)
    )


async def refusal(awaitable: Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        await awaitable
    return str(caught.value.response.get("Error", {}).get("Code"))


async def test_a_repeated_client_token_is_the_same_instance() -> None:
    async with stage() as s:
        first = await s.run(2, ClientToken="one")
        assert await s.run(2, ClientToken="one") == first
        assert len(await s.instances()) == 2
        assert [call.repeated for call in s.front.calls[:2]] == [False, True]


async def test_a_client_token_with_other_parameters_is_a_mismatch() -> None:
    async with stage() as s:
        await s.run(1, ClientToken="one")
        assert await refusal(s.run(2, ClientToken="one")) == "IdempotentParameterMismatch"
        assert await s.run(1, ClientToken="two") != await s.run(1, ClientToken="one")


async def test_two_calls_with_one_token_at_once_launch_once() -> None:
    async with stage() as s:
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(s.fleet(3, ("t3.small", ZONES[0], 0), ClientToken="one")) for _ in range(2)]
        assert both[0].result()["Instances"] == both[1].result()["Instances"]
        assert len(await s.instances()) == 3


async def test_a_refused_call_may_be_repeated_with_its_token() -> None:
    async with stage() as s:
        s.front.rules.limit("t3.small")
        assert await refusal(s.run(1, ClientToken="one")) == "InsufficientInstanceCapacity"
        s.front.rules.heal()
        assert len(await s.run(1, ClientToken="one")) == 1


async def test_a_lost_answer_was_carried_out_and_its_token_finds_it() -> None:
    async with stage() as s:
        s.front.rules.lose("CreateFleet")
        with pytest.raises(botocore.exceptions.HTTPClientError):
            await s.fleet(2, ("t3.small", ZONES[0], 0), ClientToken="one")
        launched = {one["InstanceId"] for one in await s.instances()}
        again = await s.fleet(2, ("t3.small", ZONES[0], 0), ClientToken="one")
        assert set(again["Instances"][0]["InstanceIds"]) == launched
        assert [call.outcome for call in s.front.calls if call.action == "CreateFleet"] == ["lost", "ok"]


async def test_a_caller_that_goes_away_does_not_stop_its_launch() -> None:
    async with stage() as s:
        let_through = s.front.rules.hold("CreateFleet")
        with s.front.watch() as heard:
            asked = s.fleet(3, ("t3.small", ZONES[0], 0), ClientToken="one")
            leaving = asyncio.get_running_loop().create_task(asked)
            assert (await heard.get()).action == "CreateFleet"
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        assert len(await s.instances()) == 3
        let_through.set()
        again = await s.fleet(3, ("t3.small", ZONES[0], 0), ClientToken="one")
        assert len(again["Instances"][0]["InstanceIds"]) == 3
        assert len(await s.instances()) == 3


async def test_a_fleet_fills_the_best_override_first_and_tells_what_was_short() -> None:
    async with stage() as s:
        s.front.rules.limit("t3.small", ZONES[0], left=2)
        s.front.rules.limit("c7g.large", code="UnfulfillableCapacity")
        answer = await s.fleet(
            5,
            ("m7g.large", ZONES[1], 9),
            ("c7g.large", ZONES[0], 1),
            ("t3.small", ZONES[0], 0),
            ("t3.small", ZONES[1], 2),
        )
        shares = [
            (one["InstanceType"], one["LaunchTemplateAndOverrides"]["Overrides"]["SubnetId"], len(one["InstanceIds"]))
            for one in answer["Instances"]
        ]
        assert shares == [("t3.small", s.subnets[ZONES[0]], 2), ("t3.small", s.subnets[ZONES[1]], 3)]
        errors = [
            (one["ErrorCode"], one["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"])
            for one in answer["Errors"]
        ]
        assert errors == [("InsufficientInstanceCapacity", "t3.small"), ("UnfulfillableCapacity", "c7g.large")]


async def test_a_fleet_without_any_capacity_answers_with_errors_only() -> None:
    async with stage() as s:
        s.front.rules.limit(market="spot")
        answer = await s.fleet(1, ("t3.small", ZONES[0], 0), market="spot")
        assert answer.get("Instances", []) == []
        assert [(one["ErrorCode"], one["Lifecycle"]) for one in answer["Errors"]] == [
            ("InsufficientInstanceCapacity", "spot")
        ]
        assert len((await s.fleet(1, ("t3.small", ZONES[0], 0)))["Instances"]) == 1


async def test_an_instance_of_a_fleet_has_all_that_its_template_says() -> None:
    async with stage() as s:
        own = [{"ResourceType": "instance", "Tags": [{"Key": "cell", "Value": "c-1"}]}]
        answer = await s.fleet(1, ("t3.small", ZONES[1], 0), market="spot", TagSpecifications=own)
        (one,) = await s.instances()
        tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        assert (one["MetadataOptions"]["HttpTokens"], one["MetadataOptions"]["HttpPutResponseHopLimit"]) == (
            "required",
            1,
        )
        assert (one["InstanceType"], one["SubnetId"]) == ("t3.small", s.subnets[ZONES[1]])
        assert one["InstanceLifecycle"] == "spot"
        assert (tags["cluster"], tags["cell"], tags["aws:ec2:fleet-id"]) == ("test", "c-1", answer["FleetId"])
        addresses = [address["PrivateIpAddress"] for address in one["NetworkInterfaces"][0]["PrivateIpAddresses"]]
        assert len(set(addresses)) == 2
        assert addresses[0] == one["PrivateIpAddress"]
        data = await s.ec2.describe_instance_attribute(InstanceId=one["InstanceId"], Attribute="userData")
        assert base64.b64decode(data["UserData"]["Value"]) == b"#!/bin/sh\n"
        (volume,) = (await s.ec2.describe_volumes())["Volumes"]
        assert (volume["Size"], volume["Encrypted"], volume["Tags"]) == (
            20,
            True,
            [{"Key": "cluster", "Value": "test"}],
        )


async def test_a_full_subnet_is_passed_over() -> None:
    async with stage() as s:
        wanted = (("t3.small", ZONES[0], 0), ("t3.small", ZONES[1], 1))
        answer = await s.fleet(40, *wanted)
        assert [len(one["InstanceIds"]) for one in answer["Instances"]] == [29, 11]  # two addresses each, of 59
        assert [one["ErrorCode"] for one in answer["Errors"]] == ["InsufficientFreeAddressesInSubnet"]


async def test_terminating_an_instance_leaves_neither_interface_nor_volume() -> None:
    async with stage() as s:
        answer = await s.fleet(2, ("t3.small", ZONES[0], 0))
        ids = answer["Instances"][0]["InstanceIds"]
        mine = [{"Name": "tag:cluster", "Values": ["test"]}]
        assert len((await s.ec2.describe_network_interfaces(Filters=mine))["NetworkInterfaces"]) == 2
        await s.ec2.terminate_instances(InstanceIds=ids)
        assert (await s.ec2.describe_network_interfaces(Filters=mine))["NetworkInterfaces"] == []
        assert s.front.calls[-2].instances == tuple(ids)


async def test_run_instances_takes_a_template_and_launches_what_there_is() -> None:
    async with stage() as s:
        s.front.rules.limit("t3.small", ZONES[0], "on-demand", left=3)
        answer = await s.ec2.run_instances(
            LaunchTemplate={"LaunchTemplateId": s.template},
            InstanceType="t3.small",
            SubnetId=s.subnets[ZONES[0]],
            MinCount=1,
            MaxCount=5,
        )
        assert len(answer["Instances"]) == 3
        assert {one["MetadataOptions"]["HttpTokens"] for one in await s.instances()} == {"required"}


async def test_the_sixth_run_instances_in_a_moment_is_throttled_and_two_a_second_are_not() -> None:
    async with stage() as s:
        for _ in range(5):
            await s.run()
        assert await refusal(s.run()) == "RequestLimitExceeded"
        s.clock.now += 1
        await s.run()
        await s.run()
        assert await refusal(s.run()) == "RequestLimitExceeded"
        assert s.front.buckets.refused == {"RunInstances": 2}
        assert len(await s.instances()) == 7


async def test_more_than_a_thousand_instances_in_a_moment_are_throttled() -> None:
    async with stage() as s:
        assert await refusal(s.run(1001)) == "RequestLimitExceeded"
        assert s.front.buckets.refused == {"launched resources": 1}


async def test_describing_everything_unpaginated_has_the_smaller_bucket() -> None:
    async with stage() as s:
        async with asyncio.TaskGroup() as tasks:
            broad = [tasks.create_task(s.ec2.describe_key_pairs()) for _ in range(50)]
        assert all(task.result() for task in broad)
        assert await refusal(s.ec2.describe_key_pairs()) == "RequestLimitExceeded"
        await s.ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": ["any"]}])


async def test_an_injected_error_is_answered_as_often_as_was_said() -> None:
    async with stage() as s:
        s.front.rules.fail("CreateFleet", "RequestLimitExceeded", times=2)
        for _ in range(2):
            assert await refusal(s.fleet(1, ("t3.small", ZONES[0], 0))) == "RequestLimitExceeded"
        assert (await s.fleet(1, ("t3.small", ZONES[0], 0)))["Instances"]
        s.front.rules.fail("TerminateInstances", "UnauthorizedOperation")
        assert await refusal(s.ec2.terminate_instances(InstanceIds=["i-1"])) == "UnauthorizedOperation"


async def test_a_hung_action_is_never_answered_and_never_carried_out() -> None:
    async with stage() as s:
        s.front.rules.hang("CreateFleet")
        with pytest.raises((botocore.exceptions.HTTPClientError, TimeoutError)):
            async with asyncio.timeout(0.5):
                await s.fleet(1, ("t3.small", ZONES[0], 0))
        assert await s.instances() == []


async def test_a_watcher_hears_of_each_launch_before_the_caller_does() -> None:
    async with stage() as s:
        with s.front.watch() as heard:
            s.front.rules.lose("RunInstances")
            with pytest.raises(botocore.exceptions.HTTPClientError):
                await s.run()
            assert heard.get_nowait().instances == tuple(one["InstanceId"] for one in await s.instances())


async def test_other_services_pass_to_moto() -> None:
    async with stage() as s:
        async with client(s.front, "sqs") as sqs:
            queue = (await sqs.create_queue(QueueName="notices"))["QueueUrl"]
            await sqs.send_message(QueueUrl=queue, MessageBody="{}")
            assert len((await sqs.receive_message(QueueUrl=queue))["Messages"]) == 1
        assert s.front.count("ReceiveMessage", service="sqs") == 1


async def test_the_price_list_answers_in_its_own_shape() -> None:
    async with stage() as s:
        async with client(s.front, "pricing") as pricing:
            wanted = [
                {"Type": "TERM_MATCH", "Field": "instanceType", "Value": "c5.large"},
                {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-east-1"},
            ]
            page = await pricing.get_products(ServiceCode="AmazonEC2", Filters=wanted)
        (product,) = [json.loads(one) for one in page["PriceList"]]
        (offer,) = product["terms"]["OnDemand"].values()
        (dimension,) = offer["priceDimensions"].values()
        assert (product["product"]["attributes"]["instanceType"], dimension["pricePerUnit"]["USD"]) == (
            "c5.large",
            "0.0850000000",
        )
