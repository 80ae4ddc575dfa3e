"""Routes of the VPC to cells, kept as they are wanted: `chinampa.dev/cloud-route`. What to do is decided in `routing`.

A route that this life made goes as soon as it is not wanted; one that an earlier life left goes when two looks in a row
have found it unwanted. Nothing waits for any of it: what fails is told and tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Door
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.network import route_plan
from controller.clouds.ec2.network.route_plan import TAG_ROUTE, Drop, PrimaryInterface, Put
from controller.model.names import InstanceId

log = structlog.get_logger()
# Where nothing is wanted and nothing of ours was found, another controller's life is all that could leave something.
_IDLE_SECONDS = 3600.0
_AGAIN_SECONDS = 10.0
# As many values as a filter may have.
_FILTER_VALUES = 200
_PAGE = 100


class RouteSync:
    """See the module."""

    def __init__(self, settings: Ec2Settings, vpc: str, calls: Door) -> None:
        self._settings = settings
        self._vpc = vpc
        self._calls = calls
        self._wanted: dict[InstanceId, tuple[str, ...]] = {}
        self._ports: dict[InstanceId, PrimaryInterface] = {}
        self._made: set[tuple[str, str]] = set()
        self._before: frozenset[Drop] = frozenset()
        self._told: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    def want(self, wanted: Mapping[InstanceId, tuple[str, ...]]) -> None:
        """From now on these instances have these networks, and no others have any."""
        found = {instance: networks for instance, networks in wanted.items() if networks}
        if found != self._wanted:
            self._wanted = found
            self._changed.set()

    async def work(self) -> None:
        """Bring the tables in line, for ever."""
        pause = self._settings.leftovers_seconds
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            pause = await self._pass()

    async def _pass(self) -> float:
        """Seconds until the next look."""
        try:
            whole = await self.settle()
        except Fault as fault:
            log.warning("routes cannot be looked at", cause=str(fault))
            return _AGAIN_SECONDS
        if not whole:
            return _AGAIN_SECONDS
        return self._settings.leftovers_seconds if self._wanted or self._before else _IDLE_SECONDS

    async def settle(self) -> bool:
        """Look once and do what is to be done; whether all is done. Raises Fault where it cannot look."""
        wanted = dict(self._wanted)
        whole = await self._look_up(wanted)
        vpc = [{"Name": "vpc-id", "Values": [self._vpc]}]
        tables = [
            route_plan.table(each, self._settings.cluster)
            async for each in self._calls.pages(
                "ec2", "DescribeRouteTables", "RouteTables", Filters=vpc, MaxResults=_PAGE
            )
        ]
        plan = route_plan.plan(tables, wanted, self._ports)
        self._tell(plan.refused)
        # What goes first makes room for what comes.
        due = [drop for drop in plan.drops if drop in self._before or (drop.table, drop.network) in self._made]
        self._before = frozenset(plan.drops).difference(due)
        for drop in due:
            whole = await self._done(self._drop(drop), drop.network) and whole
        for put in plan.puts:
            whole = await self._done(self._put(put), put.network) and whole
        return whole and not self._before

    async def _look_up(self, wanted: Mapping[InstanceId, tuple[str, ...]]) -> bool:
        """Learn the interfaces of those that are new, and let them take what is not addressed to them."""
        self._ports = {instance: found for instance, found in self._ports.items() if instance in wanted}
        new = [instance for instance in wanted if instance not in self._ports]
        for first in range(0, len(new), _FILTER_VALUES):
            named = [{"Name": "instance-id", "Values": [str(each) for each in new[first : first + _FILTER_VALUES]]}]
            async for reservation in self._calls.pages("ec2", "DescribeInstances", "Reservations", Filters=named):
                for described in reservation.get("Instances") or ():
                    found = route_plan.port(described)
                    if found and await self._done(self._open(found), str(described["InstanceId"])):
                        self._ports[InstanceId(str(described["InstanceId"]))] = found
        return all(instance in self._ports for instance in wanted)

    async def _open(self, port: PrimaryInterface) -> None:
        if port.checked:
            await self._calls.call(
                "ec2",
                "ModifyNetworkInterfaceAttribute",
                NetworkInterfaceId=port.interface,
                SourceDestCheck={"Value": False},
            )

    async def _put(self, put: Put) -> None:
        tag = {"Key": f"{TAG_ROUTE}{put.network}", "Value": f"{self._settings.cluster}/{put.instance}"}
        await self._calls.call("ec2", "CreateTags", Resources=[put.table], Tags=[tag])
        where: dict[str, Any] = {"RouteTableId": put.table, _destination(put.network): put.network}
        if put.replace:
            await self._calls.call("ec2", "ReplaceRoute", NetworkInterfaceId=put.interface, **where)
        else:
            try:
                await self._calls.call("ec2", "CreateRoute", NetworkInterfaceId=put.interface, **where)
            except Fault as fault:
                if fault.kind is not Kind.EXISTS:
                    raise
                if (put.table, put.network) not in self._made:
                    # Somebody else was faster: it is theirs, and must not look like ours.
                    await self._untag(put.table, put.network)
                    raise
                # We made it a moment ago, and the list does not show it yet.
                await self._calls.call("ec2", "ReplaceRoute", NetworkInterfaceId=put.interface, **where)
        self._made.add((put.table, put.network))
        log.info("route to a cell", network=put.network, table=put.table, instance=put.instance)

    async def _drop(self, drop: Drop) -> None:
        if drop.route:
            where: dict[str, Any] = {"RouteTableId": drop.table, _destination(drop.network): drop.network}
            try:
                await self._calls.call("ec2", "DeleteRoute", **where)
            except Fault as fault:
                if fault.kind is not Kind.NOT_FOUND:
                    raise
        await self._untag(drop.table, drop.network)
        self._made.discard((drop.table, drop.network))
        log.info("route removed", network=drop.network, table=drop.table)

    async def _untag(self, table: str, network: str) -> None:
        await self._calls.call("ec2", "DeleteTags", Resources=[table], Tags=[{"Key": f"{TAG_ROUTE}{network}"}])

    async def _done(self, work: Coroutine[None, None, None], thing: str) -> bool:
        try:
            await work
        except Fault as fault:
            log.warning("a route could not be settled; it is tried again", thing=thing, cause=str(fault))
            return False
        return True

    def _tell(self, refused: tuple[str, ...]) -> None:
        """Each refusal once, for as long as it lasts."""
        for sentence in sorted(frozenset(refused) - self._told):
            log.warning("a route is refused", cause=sentence)
        self._told = frozenset(refused)


def _destination(network: str) -> str:
    return "DestinationIpv6CidrBlock" if ":" in network else "DestinationCidrBlock"
