"""Tags that instances, their volumes and interfaces get after the launch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.clouds.ec2.ec2_settings import TAG_CLUSTER
from controller.clouds.ec2.instances import tagging
from controller.model.names import InstanceId
from tests.component.ec2.test_launch import cheapest, request
from tests.support.ec2_cloud import CloudStage, stage
from tests.support.launching import launched_all

POD = {"Name": "shop/web-1", "chinampa.dev/pod": "web-1", "chinampa.dev/namespace": "shop", "tier": "front"}


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagging, "_QUIET_SECONDS", 0.2)


async def tags_of_all(on: CloudStage, instance: str) -> dict[str, dict[str, str]]:
    """Tags of an instance, its volumes and its interfaces, by id."""
    found = await on.front.ask("DescribeInstances", InstanceIds=[instance])
    one = found["Reservations"][0]["Instances"][0]
    volumes = [each["Ebs"]["VolumeId"] for each in one["BlockDeviceMappings"]]
    cards = [each["NetworkInterfaceId"] for each in one["NetworkInterfaces"]]
    told: list[dict[str, Any]] = [one]
    told += (await on.front.ask("DescribeVolumes", VolumeIds=volumes))["Volumes"]
    told += (await on.front.ask("DescribeNetworkInterfaces", NetworkInterfaceIds=cards))["NetworkInterfaces"]
    ids = [instance, *volumes, *cards]
    assert len(ids) >= 3
    return {
        name: {tag["Key"]: tag["Value"] for tag in each.get("Tags") or each.get("TagSet") or ()}
        for name, each in zip(ids, told, strict=True)
    }


async def until(there: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not there():
            await asyncio.sleep(0.05)


async def test_a_warm_instance_bears_the_names_of_the_pod_that_took_it(tmp_path: Path) -> None:
    async with stage(tmp_path, tags=("team=blue",)) as on:
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud)))
        assert launched.instance is not None
        instance = launched.instance.id
        await on.cloud.instances()
        on.cloud.tag({instance: {**POD, "team": "red"}})
        await until(lambda: any(call.action == "CreateTags" and call.outcome == "ok" for call in on.front.calls))
        await on.cloud.instances()

        for tags in (await tags_of_all(on, instance)).values():
            assert tags.items() >= POD.items()
            assert (tags[TAG_CLUSTER], tags["team"]) == ("test", "blue"), "what is the cluster's own stays"
        listed = next(one for one in await on.cloud.instances() if one.id == instance)
        assert listed.client_token == "c-1-1-a"


async def test_to_ask_for_tags_again_makes_no_call(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud)))
        assert launched.instance is not None
        await on.cloud.instances()
        wanted = {launched.instance.id: POD, InstanceId("i-0123456789abcdef0"): POD}
        on.cloud.tag(wanted)
        await until(lambda: on.front.count("CreateTags") == 1)
        on.cloud.tag(wanted)  # as a resync does whose list is older than the call
        await on.cloud.instances()
        on.cloud.tag(wanted)
        await asyncio.sleep(0.6)
        assert on.front.count("CreateTags") == 1


async def test_volumes_and_interfaces_of_a_batch_get_the_names_of_their_own_pods(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        offers = await cheapest(on.cloud)
        outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-a", offers) for number in range(3)])
        await until(lambda: on.front.count("CreateTags") == 3)
        for one in outcomes:
            assert one.instance is not None
            for tags in (await tags_of_all(on, one.instance.id)).values():
                assert tags["chinampa.dev/cell"] == one.client_token.removesuffix("-a")
                assert tags["app"] == "web"


async def test_tags_that_could_not_be_written_are_written_when_ec2_takes_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tagging, "_LATER_SECONDS", 0.2)
    # Long enough to open the cloud on a loaded machine, short enough to see a call given up.
    async with stage(tmp_path, patience_seconds=6.0) as on:
        launched = await on.cloud.launch(request("c-1-1-a", await cheapest(on.cloud)))
        assert launched.instance is not None
        on.front.rules.fail("CreateTags", "Unavailable")
        on.cloud.tag({launched.instance.id: POD})
        with capture_logs() as told:
            await until(lambda: any(each["event"] == "an instance could not be tagged" for each in told), 40.0)
        on.front.rules.heal()
        await until(lambda: any(call.action == "CreateTags" and call.outcome == "ok" for call in on.front.calls))
        tags = (await tags_of_all(on, launched.instance.id))[launched.instance.id]
        assert tags.items() >= POD.items()
