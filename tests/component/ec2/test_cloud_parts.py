"""Notices, prices, logins and routes, asked of the cloud as the rest of the controller asks."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

from controller.model.names import InstanceId
from tests.support.ec2_cloud import stage
from tests.support.ec2_front import Ec2Front
from tests.support.waiting import until

NET = "10.8.0.0/24"


async def test_a_spot_warning_in_the_queue_is_a_notice_of_the_cloud(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        url = str((await on.cloud.calls.call("sqs", "CreateQueue", QueueName="notices"))["QueueUrl"])
        body = {
            "source": "aws.ec2",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "time": "2026-11-24T12:00:00Z",
            "detail": {"instance-id": "i-0b662ef9931388ba0", "instance-action": "terminate"},
        }
        async with on.reopen(queue_url=url) as cloud, aclosing(cloud.notices()) as heard:
            await cloud.calls.call("sqs", "SendMessage", QueueUrl=url, MessageBody=json.dumps(body))
            notice = await anext(heard)
        assert (notice.instance, notice.kind) == ("i-0b662ef9931388ba0", "interruption")


async def test_prices_are_refreshed_behind_the_offers_and_the_offers_stay_one_object_meanwhile(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        assert await on.cloud.offers() is await on.cloud.offers()
        assert not any(each.at for each in on.cloud.price_sources)

        # However slowly a busy machine answers.
        async with on.reopen(prices_after_seconds=0.01, patience_seconds=280.0, call_seconds=280.0) as cloud:
            before = await cloud.offers()
            await until(lambda: all(each.at or each.fault for each in cloud.price_sources), 280)
            assert not any(each.fault for each in cloud.price_sources)
            assert await cloud.offers() != before, "moto's spot prices are nobody's guess"
            assert await cloud.offers() is await cloud.offers()


async def test_a_network_that_is_asked_for_leads_to_its_instance_soon_after(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        made = await on.front.ask(
            "RunInstances", ImageId="ami-03cf127a", MinCount=1, MaxCount=1, SubnetId=on.settings.subnets[0]
        )
        instance = InstanceId(str(made["Instances"][0]["InstanceId"]))
        for wanted in ({instance: (NET,)}, {}):
            on.cloud.route(wanted)
            async with asyncio.timeout(20):
                while (NET in await routes(on.front)) != bool(wanted):
                    await asyncio.sleep(0.1)


async def routes(front: Ec2Front) -> set[str]:
    tables = (await front.ask("DescribeRouteTables"))["RouteTables"]
    return {route["DestinationCidrBlock"] for table in tables for route in table["Routes"]}
