"""What costs money on EC2 and belongs to nobody is ended; records whose instance is gone are mended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from controller.model.cell import CellState
from controller.model.names import PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from tests.support.ec2_world import SETTINGS, Ec2World, world
from tests.support.waiting import until, until_found


def claim(name: str, attempt: int = 0) -> PodClaim:
    pod = PodRef(uid=PodUid(f"uid-{name}"), namespace="default", name=name, attempt=attempt)
    return PodClaim(pod=pod, demand=Demand(cpu_millis=100, memory_mib=128), labels={"app": "web"})


async def strangers(w: Ec2World, count: int, cluster: str = "test") -> list[str]:
    """Instances with a cluster's tag that no controller knows."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "chinampa.dev/cluster", "Value": cluster}]}]
    wanted: dict[str, Any] = {"MinCount": count, "MaxCount": count, "TagSpecifications": tags}
    made = await w.front.ask("RunInstances", ImageId=w.account.image, SubnetId=w.settings.subnets[0], **wanted)
    return [one["InstanceId"] for one in made["Instances"]]


async def test_instances_of_ours_that_nobody_knows_are_ended_together_stopped_ones_too(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        ours, theirs = await strangers(w, 5), await strangers(w, 2, "another")
        await w.front.ask("StopInstances", InstanceIds=ours[:2])
        async with w.controller() as here, here.asking(claim("web")) as (asked,):
            cell = await asked

            async def only_owned() -> bool:
                return set(await w.alive()) == {*theirs, cell.instance}

            await until_found(only_owned)
            ends = [call for call in w.front.calls if call.action == "TerminateInstances"]
            assert len(ends) == 1, "they end by one call"
            assert {*ends[0].instances} == {*ours}
            assert here.state(cell) is CellState.CLAIMED


async def test_a_stranger_is_not_ended_at_first_sight(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.controller() as here:
        (name,) = await strangers(w, 1)
        listed = w.front.count("DescribeInstances")
        await until(lambda: w.front.count("TerminateInstances"))
        assert w.front.count("DescribeInstances") >= listed + 2
        assert name not in await w.alive()
        assert here.fleet.list() == ()


async def test_a_cell_whose_instance_somebody_ended_or_stopped_is_lost_and_its_instance_is_gone(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.controller() as here, here.asking(claim("a"), claim("b")) as asked:
        ended, stopped = [await one for one in asked]
        await w.front.ask("TerminateInstances", InstanceIds=[ended.instance])
        await w.front.ask("StopInstances", InstanceIds=[stopped.instance])
        await until(lambda: not here.fleet.list())
        assert await w.alive() == {}, "what is stopped is ended, for its volume costs money"


async def test_what_was_asked_for_when_the_controller_was_killed_is_found_or_ended(tmp_path: Path) -> None:
    claims = tuple(claim(f"pod-{number}") for number in range(6))
    async with world(tmp_path) as w:
        held = w.front.rules.hold("CreateFleet")
        async with w.controller() as here, here.asking(*claims):
            await until(lambda: any(call.instances for call in w.front.calls))
        held.set()
        launched = set(await w.alive())
        async with w.controller() as here, here.asking(*claims) as asked:
            cells = [await one for one in asked]
            await asyncio.sleep(3 * SETTINGS.survey)
            alive = set(await w.alive())
        assert len({cell.instance for cell in cells}) == 6
        assert alive == {cell.instance for cell in cells}, "no orphan stays"
        assert launched <= alive, "what was launched is used"


async def test_after_the_last_pod_nothing_of_ours_is_left_in_the_account(tmp_path: Path) -> None:
    claims = tuple(claim(f"pod-{number}") for number in range(20))
    # An end that a busy machine tells of late is not asked for again, and what is asked for at a time goes together.
    once = replace(SETTINGS, limits=replace(SETTINGS.limits, terminate_again=600.0))
    windows = {"idle_seconds": 2.0, "window_seconds": 60.0, "leftovers_seconds": 1.0, "template_seconds": 1.0}
    async with world(tmp_path) as w, w.controller(once, **windows) as here:
        async with here.asking(*claims) as asked:
            cells = [await one for one in asked]
        assert len(await w.alive()) == 20
        async with asyncio.TaskGroup() as releasing:
            for cell in cells:
                releasing.create_task(here.fleet.release(cell.name, "the test is over"))
        await until(lambda: not here.fleet.list())
        ends = [call for call in w.front.calls if call.action == "TerminateInstances"]
        # How many come within one moment, load decides.
        assert len(ends) <= len(claims) // 2, w.front.table()

        async def nothing() -> bool:
            mine = [{"Name": "tag-key", "Values": ["chinampa.dev/cluster"]}]
            volumes = (await w.front.ask("DescribeVolumes", Filters=mine)).get("Volumes")
            cards = (await w.front.ask("DescribeNetworkInterfaces", Filters=mine)).get("NetworkInterfaces")
            return not (volumes or cards or await w.alive())

        await until_found(nothing)
        templates = (await w.front.ask("DescribeLaunchTemplates"))["LaunchTemplates"]
        assert len(templates) <= 2 * len(w.settings.images), "those that the next launch goes by"
