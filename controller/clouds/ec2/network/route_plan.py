"""Which routes to make and to remove so that networks lead to the instances that want them. Pure.

A route has no tags, so its table bears a tag for each route of ours, written before the route and removed after it:
after any crash the tag tells whose a route is, and nothing that a person made is ever touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from controller.clouds.ec2.ec2_settings import PREFIX
from controller.clouds.ec2.tags import tags_of
from controller.model.names import InstanceId

TAG_ROUTE = f"{PREFIX}route/"


class RouteTarget(msgspec.Struct, frozen=True):
    """Where a route leads: an interface, or "" for a gateway or the like; `lost` for what is there no more."""

    interface: str
    lost: bool = False


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """A route table: its routes by network, and the instance for which each route of ours was made."""

    id: str
    main: bool = False
    subnets: frozenset[str] = frozenset()
    routes: dict[str, RouteTarget] = {}
    owners: dict[str, InstanceId] = {}


class PrimaryInterface(msgspec.Struct, frozen=True):
    """The first interface of an instance and its subnet; `checked` where it drops what is not addressed to it."""

    interface: str
    subnet: str
    checked: bool = True


class Put(msgspec.Struct, frozen=True):
    """Lead a network to an instance; `replace` where the table has a route for it already."""

    table: str
    network: str
    instance: InstanceId
    interface: str
    replace: bool


class Drop(msgspec.Struct, frozen=True):
    """Remove a route of ours; only its tag where the route is gone or leads elsewhere by now."""

    table: str
    network: str
    route: bool


class RoutePlan(msgspec.Struct, frozen=True):
    """A plan of route changes; `refused` are sentences on what cannot be done."""

    puts: tuple[Put, ...] = ()
    drops: tuple[Drop, ...] = ()
    refused: tuple[str, ...] = ()


def table(described: Mapping[str, Any], cluster: str) -> RouteTable:
    """One entry of DescribeRouteTables."""
    associations: Sequence[Mapping[str, Any]] = described.get("Associations") or ()
    owners: dict[str, InstanceId] = {}
    for key, value in tags_of(described).items():
        owner, _, instance = value.rpartition("/")
        if key.startswith(TAG_ROUTE) and owner == cluster:
            owners[key.removeprefix(TAG_ROUTE)] = InstanceId(instance)
    return RouteTable(
        id=str(described["RouteTableId"]),
        main=any(bool(each.get("Main")) for each in associations),
        subnets=frozenset(str(each["SubnetId"]) for each in associations if each.get("SubnetId")),
        routes={
            str(route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock") or ""): RouteTarget(
                str(route.get("NetworkInterfaceId") or ""), str(route.get("State") or "") == "blackhole"
            )
            for route in described.get("Routes") or ()
        },
        owners=owners,
    )


def port(described: Mapping[str, Any]) -> PrimaryInterface | None:
    """Of one entry of DescribeInstances; None while it has no interface."""
    for interface in described.get("NetworkInterfaces") or ():
        if (interface.get("Attachment") or {}).get("DeviceIndex", 0) == 0:
            checked = bool(interface.get("SourceDestCheck", True))
            return PrimaryInterface(str(interface["NetworkInterfaceId"]), str(interface.get("SubnetId") or ""), checked)
    return None


def of_subnet(tables: Iterable[RouteTable], subnet: str) -> RouteTable | None:
    """The table that holds for a subnet: its own, else the VPC's main one."""
    main = None
    for each in tables:
        if subnet in each.subnets:
            return each
        main = each if each.main else main
    return main


def plan(
    tables: Sequence[RouteTable],
    wanted: Mapping[InstanceId, tuple[str, ...]],
    ports: Mapping[InstanceId, PrimaryInterface],
) -> RoutePlan:
    """The plan of routes. Of several that want one network, the one that has it keeps it, else the first gets it."""
    holders: dict[tuple[str, str], InstanceId] = {}
    refused: list[str] = []
    for instance, network, held in _claims(tables, wanted, ports):
        key = (held.id, network)
        owner = held.owners.get(network)
        current = holders.get(key)
        if network in held.routes and owner is None:
            refused.append(f"network {network}: table {held.id} has a route for it that is not ours")
        elif current is None or owner == instance:
            holders[key] = instance
        if current is not None and current != instance:
            refused.append(f"network {network}: more than one instance wants it of table {held.id}")
    puts = [put for each in tables for put in _puts(each, holders, ports)]
    drops = [
        Drop(each.id, network, route=_still_ours(each, network))
        for each in tables
        for network in each.owners
        if (each.id, network) not in holders
    ]
    return RoutePlan(tuple(puts), tuple(drops), tuple(refused))


def _claims(
    tables: Sequence[RouteTable],
    wanted: Mapping[InstanceId, tuple[str, ...]],
    ports: Mapping[InstanceId, PrimaryInterface],
) -> Iterable[tuple[InstanceId, str, RouteTable]]:
    for instance, networks in wanted.items():
        held = of_subnet(tables, ports[instance].subnet) if instance in ports else None
        if held is None:
            # Not known yet: what it has, it keeps.
            yield from (
                (instance, net, each) for each in tables for net in networks if each.owners.get(net) == instance
            )
        else:
            yield from ((instance, network, held) for network in networks)


def _puts(
    held: RouteTable, holders: Mapping[tuple[str, str], InstanceId], ports: Mapping[InstanceId, PrimaryInterface]
) -> Iterable[Put]:
    for (table_id, network), instance in holders.items():
        if table_id != held.id or instance not in ports:
            continue
        there = held.routes.get(network)
        interface = ports[instance].interface
        if there is None or there.interface != interface or held.owners.get(network) != instance:
            yield Put(held.id, network, instance, interface, replace=there is not None)


def _still_ours(held: RouteTable, network: str) -> bool:
    there = held.routes.get(network)
    return there is not None and (there.lost or bool(there.interface))
