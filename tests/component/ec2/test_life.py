"""The end of instances, and of what they leave behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import ec2_cloud as ec2
from controller.clouds.ec2.ec2_cloud import Ec2Cloud
from controller.clouds.ec2.ec2_settings import TAG_CLUSTER
from controller.clouds.protocol import LaunchRequest
from controller.model.names import InstanceId
from controller.model.offer import LaunchType
from tests.support.ec2_cloud import CloudStage, DocumentSigner, credentials, settings_on, stage
from tests.support.ec2_front import running_front
from tests.support.launching import kind_of, launched_all


async def launched(cloud: Ec2Cloud, count: int) -> list[InstanceId]:
    offers = tuple(each for each in await cloud.offers() if each.launch_type is LaunchType.ON_DEMAND)[:10]
    requests = [
        LaunchRequest(client_token=f"c-{number}-1-a", offers=offers, user_data="#!/bin/sh\n") for number in range(count)
    ]
    return [one.instance.id for one in await launched_all(cloud, requests) if one.instance]


def tagged(kind: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": TAG_CLUSTER, "Value": "test"}]}]


async def templates(on: CloudStage) -> list[dict[str, Any]]:
    return (await on.front.ask("DescribeLaunchTemplates"))["LaunchTemplates"]


async def test_instances_that_end_at_once_are_ended_by_one_call(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        ids = await launched(on.cloud, 30)
        async with asyncio.TaskGroup() as tasks:
            for one in ids:
                tasks.create_task(on.cloud.terminate([one]))
        (ends,) = [call for call in on.front.calls if call.action == "TerminateInstances"]
        assert ends.parameters["SkipOsShutdown"], "seconds of each instance's life are not paid for"
        assert not await on.alive()


async def test_one_id_that_ec2_does_not_know_keeps_nothing_alive(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        ids = await launched(on.cloud, 5)
        await on.cloud.terminate([*ids[:2], InstanceId("i-0123456789abcdef0"), InstanceId("nonsense"), *ids[2:]])
        assert not await on.alive()
        assert on.front.count("TerminateInstances") <= 10


async def test_one_instance_that_may_not_be_ended_is_told_and_the_rest_end(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        ids = await launched(on.cloud, 5)
        await on.front.ask("ModifyInstanceAttribute", InstanceId=ids[2], DisableApiTermination={"Value": True})
        outcomes: dict[InstanceId, str] = {}

        async def end(one: InstanceId) -> None:
            try:
                await on.cloud.terminate([one])
            except Fault as fault:
                outcomes[one] = str(fault)

        async with asyncio.TaskGroup() as tasks:
            for one in ids:
                tasks.create_task(end(one))
        assert list(outcomes) == [ids[2]]
        assert [each["InstanceId"] for each in await on.alive()] == [ids[2]]


async def test_subnets_that_give_no_ipv4_address_are_refused_at_the_start(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.front.ask("AssociateVpcCidrBlock", VpcId=on.cloud.environment.vpc, AmazonProvidedIpv6CidrBlock=True)
        (vpc,) = (await on.front.ask("DescribeVpcs", VpcIds=[on.cloud.environment.vpc]))["Vpcs"]
        block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
        made = await on.front.ask("CreateSubnet", VpcId=vpc["VpcId"], Ipv6CidrBlock=block, Ipv6Native=True)
        with pytest.raises(Fault, match=r"IPv6 addresses only.*IPv4") as caught:
            async with on.reopen(subnets=(*on.settings.subnets, made["Subnet"]["SubnetId"])):
                pass
        assert caught.value.thing == "cloud.ec2.subnets"


async def test_what_is_ours_and_unused_is_deleted_at_the_second_sight_and_nothing_else(tmp_path: Path) -> None:
    async with stage(tmp_path, template_seconds=0.5) as on:
        await launched(on.cloud, 2)
        old = tagged("launch-template")
        await on.front.ask(
            "CreateLaunchTemplate", LaunchTemplateName="old", LaunchTemplateData={}, TagSpecifications=old
        )
        zone, subnet = "us-east-1a", on.settings.subnets[0]
        lost = await on.front.ask("CreateVolume", AvailabilityZone=zone, Size=1, TagSpecifications=tagged("volume"))
        foreign = await on.front.ask("CreateVolume", AvailabilityZone=zone, Size=1)
        await on.front.ask("CreateNetworkInterface", SubnetId=subnet, TagSpecifications=tagged("network-interface"))
        await on.front.ask(
            "CreateSecurityGroup",
            GroupName="old",
            Description="old",
            VpcId=on.cloud.environment.vpc,
            TagSpecifications=tagged("security-group"),
        )
        await asyncio.sleep(1)

        assert await on.cloud.leftovers.sweep() == ()
        deleted = await on.cloud.leftovers.sweep()

        assert {each.action for each in deleted} == {
            "DeleteVolume",
            "DeleteNetworkInterface",
            "DeleteSecurityGroup",
            "DeleteLaunchTemplate",
        }
        assert "old" not in {each["LaunchTemplateName"] for each in await templates(on)}
        assert await templates(on), "those that launches go by stay, however old"
        left = {each["VolumeId"] for each in (await on.front.ask("DescribeVolumes"))["Volumes"]}
        assert lost["VolumeId"] not in left
        assert foreign["VolumeId"] in left
        groups = {each["GroupId"] for each in (await on.front.ask("DescribeSecurityGroups"))["SecurityGroups"]}
        assert on.cloud.environment.security_group in groups
        assert len(await on.alive()) == 2


async def test_what_may_not_be_looked_at_keeps_nothing_else_from_being_deleted(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        zone = "us-east-1a"
        lost = await on.front.ask("CreateVolume", AvailabilityZone=zone, Size=1, TagSpecifications=tagged("volume"))
        old = await on.front.ask(
            "CreateSecurityGroup",
            GroupName="old",
            Description="old",
            VpcId=on.cloud.environment.vpc,
            TagSpecifications=tagged("security-group"),
        )
        on.front.rules.fail("DescribeNetworkInterfaces", "UnauthorizedOperation")
        await on.cloud.leftovers.sweep()
        assert {each.id for each in await on.cloud.leftovers.sweep()} == {lost["VolumeId"], old["GroupId"]}


async def test_a_cloud_that_cannot_be_opened_names_the_setting(tmp_path: Path) -> None:
    with credentials():
        async with running_front() as front:
            DocumentSigner(tmp_path / "certificates")
            for change, named in (
                ({"subnets": ()}, "cloud.ec2.subnets"),
                ({"subnets": ("subnet-0123",)}, "InvalidSubnetID.NotFound"),
                ({"image_amd64": "ami-0123"}, "ami-0123"),
                ({"certificates": None}, "cloud.ec2.certificates"),
                ({"key_profile": "nobody"}, "cloud.ec2.key_profile"),
            ):
                settings = await settings_on(front, tmp_path, **change)
                with pytest.raises(Fault) as raised:
                    async with ec2.running(settings):
                        pass
                assert named in str(raised.value)


async def test_a_second_start_takes_the_same_security_group(tmp_path: Path) -> None:
    async with stage(tmp_path) as on, on.reopen() as again:
        assert again.environment == on.cloud.environment


async def test_a_security_group_that_ec2_does_not_know_at_once_gets_its_rule_all_the_same(tmp_path: Path) -> None:
    with credentials():
        async with running_front() as front:
            DocumentSigner(tmp_path / "certificates")
            front.rules.fail("AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound", 2)
            async with ec2.running(await settings_on(front, tmp_path)) as cloud:
                answer = await front.ask("DescribeSecurityGroups", GroupIds=[cloud.environment.security_group])
                (rule,) = answer["SecurityGroups"][0]["IpPermissions"]
                assert rule["UserIdGroupPairs"][0]["GroupId"] == cloud.environment.security_group


async def test_a_room_that_closes_tells_those_who_wait_and_leaves_the_launch_to_the_next_life(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        async with asyncio.TaskGroup() as tasks, on.reopen(cluster="other") as closing:
            on.front.rules.hang("CreateFleet")
            offers = tuple(await closing.offers())[:5]
            request = LaunchRequest(client_token="c-1-1-a", offers=offers, user_data="#!/bin/sh\n")
            asked = tasks.create_task(closing.launch(request))
            while not on.front.count("CreateFleet"):
                await asyncio.sleep(0.01)
        assert kind_of(asked.result()) is Kind.UNAVAILABLE
