"""What moto knows of networks as the local VPC's router takes it: groups, interfaces and routes of what boots.

This machine, where the controller runs, is a member of the VPC's default group, as an instance with a controller is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from controller.clouds.local.instance_records import Record
from controller.clouds.local.router import Router, interface_of
from controller.clouds.local.vpc import Permission, SecurityGroup
from tests.support.ec2_launches import backend

ACTIONS = frozenset({
    "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress",
    "CreateRoute",
    "DeleteRoute",
    "ModifyInstanceAttribute",
    "ModifyNetworkInterfaceAttribute",
    "ReplaceRoute",
    "RevokeSecurityGroupEgress",
    "RevokeSecurityGroupIngress",
})  # fmt: skip
PUBLIC = "54.214.0.0/16"
"""Where moto's public addresses are from."""


def placed(record: Record) -> Record:
    """The record with what moto says of the instance's interface."""
    told = backend().get_instance(record.id)
    interface = told.nics[0]
    checked = all(str(one.source_dest_check).lower() == "true" for one in (told, interface))
    return msgspec.structs.replace(
        record,
        public_address=interface.public_ip or "",
        groups=tuple(sorted(group.id for group in interface.group_set)),
        checked=checked,
    )


async def draw(router: Router, records: Iterable[Record]) -> None:
    """Have the router do what moto says now."""
    known = {record.id: interface_of(placed(record)) for record in records}
    await router.change(known.items())
    groups = {
        group.id: _group(group) for of_vpc in tuple(backend().groups.values()) for group in tuple(of_vpc.values())
    }
    default = tuple(
        group.id
        for of_vpc in tuple(backend().groups.values())
        for group in tuple(of_vpc.values())
        if _is_default(group)
    )
    await router.draw(groups, default)
    await router.lead({
        str(route.destination_cidr_block): known[route.instance.id].link if route.instance.id in known else ""
        for table in tuple(backend().route_tables.values())
        for route in table.routes
        if route.instance is not None
    })  # fmt: skip


def _is_default(group: Any) -> bool:
    return group.name == "default"


def _group(group: Any) -> SecurityGroup:
    ingress = tuple(_permission(rule) for rule in group.ingress_rules)
    if _is_default(group):
        # EC2's default group admits its own members; moto's says nothing of it.
        ingress += (Permission(groups=(group.id,)),)
    return SecurityGroup(ingress=ingress, egress=tuple(_permission(rule) for rule in group.egress_rules))


def _permission(rule: Any) -> Permission:
    protocol = str(rule.ip_protocol or "-1")
    other = (rule.source_group or {}).get("GroupId")
    network = (rule.ip_range or {}).get("CidrIp")
    return Permission(
        protocol=protocol,
        first=max(int(rule.from_port or 0), 0),
        last=int(rule.to_port) if rule.to_port not in {None, -1} else 65535,
        networks=(network,) if network else (),
        groups=(other,) if other else (),
    )
