"""A zone that is out: EC2 then fails every list that is not of instances in other zones."""

from __future__ import annotations

from pathlib import Path

from controller.model.instance import InstanceState
from controller.model.names import InstanceId
from tests.component.ec2.test_launch import cheapest, request
from tests.support.ec2_cloud import ZONES, CloudStage, stage
from tests.support.launching import launched_all


async def one_in_each_zone(on: CloudStage) -> dict[str, InstanceId]:
    """Instance by zone."""
    offers = await cheapest(on.cloud)
    found: dict[str, InstanceId] = {}
    for zone in ZONES:
        here = [offer for offer in offers if offer.zone == zone]
        launched = await on.cloud.launch(request(f"c-{zone}-1-a", here))
        assert launched.instance is not None, launched.fault
        found[zone] = launched.instance.id
    return found


async def test_pods_are_launched_in_the_other_zones_and_known_instances_stay_known(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        known = await one_in_each_zone(on)
        await on.cloud.instances()
        on.front.rules.outage.add(ZONES[0])
        await on.front.ask("TerminateInstances", InstanceIds=[known[ZONES[1]]])

        with on.impatient("DescribeInstances"):
            listed = {each.id: each.state for each in await on.cloud.instances()}
        assert listed[known[ZONES[0]]] is not InstanceState.TERMINATED, "nobody can say that it has ended"
        assert listed[known[ZONES[1]]] is InstanceState.TERMINATED

        here = [offer for offer in await cheapest(on.cloud) if offer.zone == ZONES[1]]
        with on.impatient("DescribeInstances"):
            outcomes = await launched_all(on.cloud, [request(f"c-{number}-1-b", here) for number in range(3)])
        assert all(one.instance and one.instance.pod_address for one in outcomes), outcomes[0].fault
        with on.impatient("DescribeInstances"):
            listed = {each.id: each.state for each in await on.cloud.instances()}
        assert len(listed) == 4, "the two, without the ended one of before, and three more"


async def test_after_the_outage_instances_are_listed_together_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await one_in_each_zone(on)
        await on.cloud.instances()
        on.front.rules.outage.add(ZONES[0])
        with on.impatient("DescribeInstances"):
            await on.cloud.instances()
        on.front.rules.heal()
        on.front.calls.clear()
        await on.cloud.instances()
        assert all("InstanceIds" in call.parameters for call in on.front.calls)
        on.cloud._listing._whole_again = 0.0
        on.front.calls.clear()
        assert len(await on.cloud.instances()) == 2
        assert on.front.count("DescribeInstances") == 1
