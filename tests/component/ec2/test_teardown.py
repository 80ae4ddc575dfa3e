"""The way back: all that bears the cluster's tag is ended, nothing else is, and what is left is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web

from controller.clouds.ec2.ec2_settings import TAG_CLUSTER
from tests.component.ec2.test_launch import cheapest, request
from tests.support.commands import chinampa, config_file
from tests.support.ec2_cloud import CloudStage, stage
from tests.support.launching import launched_all

NET = "10.8.0.0/24"


def tagged(kind: str, cluster: str = "test") -> dict[str, Any]:
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": [{"Key": TAG_CLUSTER, "Value": cluster}]}]}


async def lived_in(on: CloudStage) -> None:
    """Two pods run, one has a route; a volume and an interface were left behind."""
    offers = await cheapest(on.cloud)
    outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", offers) for number in range(2)])
    assert outcomes[0].instance is not None
    on.cloud.route({outcomes[0].instance.id: (NET,)})
    await on.cloud._routes.settle()
    await on.front.ask("CreateVolume", AvailabilityZone="us-east-1a", Size=1, **tagged("volume"))
    subnet = on.settings.subnets[0]
    await on.front.ask("CreateNetworkInterface", SubnetId=subnet, **tagged("network-interface"))


async def others(on: CloudStage) -> dict[str, str]:
    """What is another cluster's or nobody's, by kind."""
    instance = await on.front.ask(
        "RunInstances",
        ImageId="ami-03cf127a",
        MinCount=1,
        MaxCount=1,
        SubnetId=on.settings.subnets[0],
        **tagged("instance", "another"),
    )
    volume = await on.front.ask("CreateVolume", AvailabilityZone="us-east-1a", Size=1, **tagged("volume", "another"))
    template = await on.front.ask("CreateLaunchTemplate", LaunchTemplateName="plain", LaunchTemplateData={})
    group = await on.front.ask("CreateSecurityGroup", GroupName="g", Description="g", VpcId=on.cloud.environment.vpc)
    return {
        "Instances": instance["Instances"][0]["InstanceId"],
        "Volumes": volume["VolumeId"],
        "LaunchTemplates": template["LaunchTemplate"]["LaunchTemplateId"],
        "SecurityGroups": group["GroupId"],
    }


async def ours(on: CloudStage) -> list[str]:
    """What bears the cluster's tag and has not ended."""
    mine = [{"Name": f"tag:{TAG_CLUSTER}", "Values": ["test"]}]
    found: list[str] = []
    for action, key, name in (
        ("DescribeVolumes", "Volumes", "VolumeId"),
        ("DescribeNetworkInterfaces", "NetworkInterfaces", "NetworkInterfaceId"),
        ("DescribeLaunchTemplates", "LaunchTemplates", "LaunchTemplateId"),
        ("DescribeSecurityGroups", "SecurityGroups", "GroupId"),
    ):
        found += [each[name] for each in (await on.front.ask(action, Filters=mine)).get(key, ())]
    living = [*mine, {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]}]
    reservations = (await on.front.ask("DescribeInstances", Filters=living)).get("Reservations", ())
    found += [one["InstanceId"] for each in reservations for one in each["Instances"]]
    tables = (await on.front.ask("DescribeRouteTables"))["RouteTables"]
    return found + [NET for table in tables if any(each.get("DestinationCidrBlock") == NET for each in table["Routes"])]


async def test_all_of_the_cluster_is_ended_and_nothing_of_others_and_again_finds_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await lived_in(on)
        kept = await others(on)
        config = config_file(tmp_path, on.settings)
        on.cloud._launcher.templates.forget()
        for action in ("DescribeInstances", "TerminateInstances", "DeleteVolume"):
            on.front.rules.fail(action, "RequestLimitExceeded", 2)

        done = await chinampa("teardown", "--config", config)
        assert done.code == 0, done.err + done.out
        assert await ours(on) == []
        assert "ended 2 instances, 1 route," in done.out
        assert "1 security group; nothing is left" in done.out

        living = await on.front.ask("DescribeInstances", InstanceIds=[kept["Instances"]])
        assert living["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"
        for action, key, name in (
            ("DescribeVolumes", "Volumes", "VolumeId"),
            ("DescribeLaunchTemplates", "LaunchTemplates", "LaunchTemplateId"),
            ("DescribeSecurityGroups", "SecurityGroups", "GroupId"),
        ):
            assert kept[key] in {each[name] for each in (await on.front.ask(action))[key]}

        again = await chinampa("teardown", "--config", config)
        assert (again.code, again.out) == (0, "cluster test in us-east-1: nothing is left\n")


async def test_a_dry_run_lists_all_and_ends_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await lived_in(on)
        before = await ours(on)
        done = await chinampa("teardown", "--dry-run", "--config", config_file(tmp_path, on.settings))
        assert done.code == 0, done.err
        assert all(each in done.out for each in before)
        assert "would be ended" in done.out.splitlines()[-1]
        assert await ours(on) == before


async def test_what_may_not_be_ended_is_left_by_name_with_the_right_that_is_missing(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await lived_in(on)
        on.front.rules.fail("DeleteNetworkInterface", "UnauthorizedOperation")
        done = await chinampa("teardown", "--config", config_file(tmp_path, on.settings))
        assert done.code == 1
        assert "allow ec2:DeleteNetworkInterface" in done.err
        (interface,) = await ours(on)
        assert interface in done.err


async def test_images_of_cells_go_only_when_they_are_asked_for_and_not_while_others_run_them(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        images: list[str] = []
        for name in ("unused", "used"):
            made = await on.front.ask("RegisterImage", Name=name, Architecture="x86_64", RootDeviceName="/dev/xvda")
            images.append(str(made["ImageId"]))
            tags = [{"Key": "chinampa.dev/cell-image", "Value": "amd64"}]
            await on.front.ask("CreateTags", Resources=[made["ImageId"]], Tags=tags)
        await on.front.ask(
            "RunInstances",
            ImageId=images[1],
            MinCount=1,
            MaxCount=1,
            SubnetId=on.settings.subnets[0],
            **tagged("instance", "another"),
        )
        config = config_file(tmp_path, on.settings)
        plain = await chinampa("teardown", "--dry-run", "--config", config)
        assert not any(each in plain.out for each in images)
        done = await chinampa("teardown", "--images", "--config", config)
        assert done.code == 0, done.err
        left = {each["ImageId"] for each in (await on.front.ask("DescribeImages", Owners=["self"]))["Images"]}
        assert images[0] not in left
        assert images[1] in left


async def running(request: web.Request) -> web.StreamResponse:
    return web.json_response({})


async def test_beside_its_running_controller_nothing_is_ended(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        config = config_file(tmp_path, on.settings)
        (tmp_path / "state").mkdir()
        app = web.Application()
        app.router.add_get("/status", running)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "state" / "admin.sock")).start()
        try:
            done = await chinampa("teardown", "--config", config)
        finally:
            await runner.cleanup()
        assert done.code == 1
        assert "stop it first" in done.err
        assert await ours(on) != []
