"""Routes to cells in moto's route tables."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controller.clouds.ec2 import calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.network.route_sync import RouteSync
from controller.model.names import InstanceId
from tests.support.ec2_cloud import credentials, settings_on
from tests.support.ec2_front import Ec2Front, running_front

NET, OTHER = "10.8.0.0/24", "10.9.0.0/24"


class Stage:
    def __init__(self, front: Ec2Front, settings: Ec2Settings, door: calls.Calls, vpc: str) -> None:
        self.front, self.settings, self.door, self.vpc = front, settings, door, vpc

    def routes(self) -> RouteSync:
        """A controller's life."""
        return RouteSync(self.settings, self.vpc, self.door)

    async def launch(self) -> InstanceId:
        answer = await self.front.ask(
            "RunInstances", ImageId="ami-03cf127a", MinCount=1, MaxCount=1, SubnetId=self.settings.subnets[0]
        )
        return InstanceId(str(answer["Instances"][0]["InstanceId"]))

    async def interface(self, instance: InstanceId) -> dict[str, Any]:
        answer = await self.front.ask("DescribeInstances", InstanceIds=[instance])
        return answer["Reservations"][0]["Instances"][0]["NetworkInterfaces"][0]

    async def tables(self) -> list[dict[str, Any]]:
        filters = [{"Name": "vpc-id", "Values": [self.vpc]}]
        return (await self.front.ask("DescribeRouteTables", Filters=filters))["RouteTables"]

    async def leading(self) -> dict[str, str]:
        """Interface by network, in all tables of the VPC."""
        return {
            route["DestinationCidrBlock"]: route["NetworkInterfaceId"]
            for table in await self.tables()
            for route in table["Routes"]
            if route.get("NetworkInterfaceId")
        }

    async def tagged(self) -> set[str]:
        return {tag["Key"] for table in await self.tables() for tag in table.get("Tags", ())}


@asynccontextmanager
async def staged(folder: Path) -> AsyncGenerator[Stage]:
    with credentials():
        async with running_front() as front:
            settings = await settings_on(front, folder)
            async with calls.running(settings) as door:
                answer = await front.ask("DescribeSubnets", SubnetIds=list(settings.subnets))
                yield Stage(front, settings, door, str(answer["Subnets"][0]["VpcId"]))


async def test_a_network_leads_to_its_cell_until_the_cell_goes(tmp_path: Path) -> None:
    async with staged(tmp_path) as on:
        cell, routes = await on.launch(), on.routes()
        routes.want({cell: (NET,)})
        assert await routes.settle()

        interface = await on.interface(cell)
        assert await on.leading() == {NET: interface["NetworkInterfaceId"]}
        assert interface["SourceDestCheck"] is False

        changes = on.front.count("CreateRoute", "ReplaceRoute", "CreateTags", "ModifyNetworkInterfaceAttribute")
        assert await routes.settle()
        assert on.front.count("CreateRoute", "ReplaceRoute", "CreateTags", "ModifyNetworkInterfaceAttribute") == changes

        routes.want({})
        assert await routes.settle()
        assert await on.leading() == {}
        assert await on.tagged() == set()


async def test_the_next_cell_takes_a_network_over_with_one_replacement(tmp_path: Path) -> None:
    async with staged(tmp_path) as on:
        first, second, routes = await on.launch(), await on.launch(), on.routes()
        routes.want({first: (NET,)})
        await routes.settle()
        routes.want({second: (NET,)})
        await routes.settle()

        assert await on.leading() == {NET: (await on.interface(second))["NetworkInterfaceId"]}
        assert (on.front.count("CreateRoute"), on.front.count("ReplaceRoute")) == (1, 1)


async def test_what_an_earlier_life_left_goes_after_two_looks(tmp_path: Path) -> None:
    async with staged(tmp_path) as on:
        cell, former = await on.launch(), on.routes()
        former.want({cell: (NET, OTHER)})
        await former.settle()

        now = on.routes()
        now.want({cell: (OTHER,)})
        assert not await now.settle()
        assert set(await on.leading()) == {NET, OTHER}
        assert await now.settle()
        assert set(await on.leading()) == {OTHER}


async def test_a_route_of_a_person_stays_whatever_cells_want(tmp_path: Path) -> None:
    async with staged(tmp_path) as on:
        cell, theirs = await on.launch(), await on.launch()
        (table,) = await on.tables()
        eni = (await on.interface(theirs))["NetworkInterfaceId"]
        await on.front.ask(
            "CreateRoute", RouteTableId=table["RouteTableId"], DestinationCidrBlock=NET, NetworkInterfaceId=eni
        )
        routes = on.routes()
        for wanted in ({cell: (NET,)}, {}, {}):
            routes.want(wanted)
            await routes.settle()
            assert await on.leading() == {NET: eni}


async def test_a_lost_answer_leaves_a_route_that_the_next_look_accepts(tmp_path: Path) -> None:
    async with staged(tmp_path) as on:
        cell, routes = await on.launch(), on.routes()
        on.front.rules.lose("CreateRoute")
        routes.want({cell: (NET,)})
        assert not await routes.settle()
        assert await routes.settle()
        assert list(await on.leading()) == [NET]
        assert on.front.count("CreateRoute") == 1


class Late:
    """A door through which new routes cannot be seen in lists yet, but for their tags."""

    def __init__(self, door: calls.Calls) -> None:
        self.call = door.call
        self._pages = door.pages

    async def pages(
        self, service: str, action: str, result_key: str, /, **params: Any
    ) -> AsyncIterator[dict[str, Any]]:
        async for each in self._pages(service, action, result_key, **params):
            routes = [one for one in each.get("Routes", ()) if not one.get("NetworkInterfaceId")]
            yield {**each, "Routes": routes} if action == "DescribeRouteTables" else each


async def test_a_route_of_ours_that_lists_do_not_show_yet_stays_ours(tmp_path: Path) -> None:
    async with staged(tmp_path) as on:
        cell, routes = await on.launch(), RouteSync(on.settings, on.vpc, Late(on.door))
        routes.want({cell: (NET,)})
        assert await routes.settle()
        on.front.rules.fail("CreateRoute", "RouteAlreadyExists")
        assert await routes.settle()
        assert await on.tagged() == {f"chinampa.dev/route/{NET}"}, "else nobody would ever remove it"
        assert list(await on.leading()) == [NET]
