"""Subnets and groups: whether cells get addresses and reach home, and who reaches pods."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from cellwire.faults import Fault
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.tags import tags_of
from controller.model.finding import Finding, Verdict, of_fault

# Two addresses a cell.
_FEW_ADDRESSES = 64
_ANYWHERE = "0.0.0.0/0"


class Network(msgspec.Struct, kw_only=True):
    """The network as it was described: `blocks` are the subnets' networks, `groups` those of cells, by id."""

    vpc: str = ""
    blocks: tuple[str, ...] = ()
    groups: dict[str, dict[str, Any]] = {}
    own: str = ""


async def look(settings: Ec2Settings, calls: Calls, homes: Sequence[str], seen: Network) -> AsyncIterator[Finding]:
    """Findings; `homes` are the addresses ("host:port") that cells dial. Fills `seen`. Raises nothing."""
    for part in (_subnets(settings, calls, seen), _groups(settings, calls, seen), _home(calls, homes, seen)):
        try:
            async for each in part:
                yield each
        except Fault as fault:
            yield of_fault("network", fault)


async def _subnets(settings: Ec2Settings, calls: Calls, seen: Network) -> AsyncIterator[Finding]:
    if not settings.subnets:
        yield Finding(Verdict.LACKS, "subnets", "cloud.ec2.subnets is empty", "name the subnets in which cells may be")
        return
    ids = list(settings.subnets)
    found = [each async for each in calls.pages("ec2", "DescribeSubnets", "Subnets", SubnetIds=ids)]
    vpcs = sorted({str(each["VpcId"]) for each in found})
    if len(vpcs) != 1:
        yield Finding(Verdict.LACKS, "subnets", f"they are of {len(vpcs)} VPCs", "name subnets of one VPC")
    if not vpcs:
        return
    seen.vpc = vpcs[0]
    seen.blocks = tuple(str(each["CidrBlock"]) for each in found if each.get("CidrBlock"))
    here = [{"Name": "vpc-id", "Values": vpcs}]
    tables = [each async for each in calls.pages("ec2", "DescribeRouteTables", "RouteTables", Filters=here)]
    for each in found:
        yield subnet(each, way_out(tables, str(each["SubnetId"])), public=settings.public_address)


def subnet(described: Mapping[str, Any], way: str, *, public: bool) -> Finding:
    """Of one subnet; `way` is where its default route leads, "" for nowhere."""
    thing = f"subnet {described['SubnetId']}"
    where = f"{described['AvailabilityZone']}, {described.get('AvailableIpAddressCount', 0)} free addresses"
    if described.get("Ipv6Native"):
        return Finding(
            Verdict.LACKS,
            thing,
            "it gives IPv6 addresses only",
            "name one with IPv4: a pod needs an address of its own",
        )
    if way.startswith("igw-") and not public:
        cause = f"{where}; its way out is an internet gateway, which serves public addresses only, and cells have none"
        return Finding(
            Verdict.LACKS, thing, cause, "set cloud.ec2.public_address, or give its route table a NAT gateway"
        )
    if not way:
        cause = f"{where}; it has no default route: cells reach this VPC and its endpoints only"
        return Finding(
            Verdict.NOTE, thing, cause, "give its route table a NAT gateway, unless registries are within reach"
        )
    if int(described.get("AvailableIpAddressCount", 0)) < _FEW_ADDRESSES:
        return Finding(Verdict.NOTE, thing, f"{where}, two for each cell", "add a larger one")
    return Finding(Verdict.OK, thing, f"{where}, out by {way}")


def way_out(tables: Sequence[Mapping[str, Any]], subnet_id: str) -> str:
    """The target of a subnet's default route, "" where it has none."""
    main: Mapping[str, Any] | None = None
    for table in tables:
        links = cast("list[Mapping[str, Any]]", table.get("Associations") or [])
        if any(link.get("SubnetId") == subnet_id for link in links):
            return _default(table)
        if any(link.get("Main") for link in links):
            main = table
    return _default(main) if main is not None else ""


def _default(table: Mapping[str, Any]) -> str:
    targets = (
        "NatGatewayId",
        "GatewayId",
        "TransitGatewayId",
        "NetworkInterfaceId",
        "InstanceId",
        "VpcPeeringConnectionId",
    )
    for route in cast("list[Mapping[str, Any]]", table.get("Routes") or []):
        if route.get("DestinationCidrBlock") == _ANYWHERE:
            return next((str(route[key]) for key in targets if route.get(key)), "")
    return ""


async def _groups(settings: Ec2Settings, calls: Calls, seen: Network) -> AsyncIterator[Finding]:
    name = f"chinampa-{settings.cluster}"
    wanted = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [seen.vpc]}]
    own = [each async for each in calls.pages("ec2", "DescribeSecurityGroups", "SecurityGroups", Filters=wanted)]
    seen.groups = {str(each["GroupId"]): each for each in own}
    seen.own = next(iter(seen.groups), "")
    if seen.own:
        yield Finding(Verdict.OK, f"security group {name}", seen.own)
    else:
        yield Finding(
            Verdict.NOTE, f"security group {name}", "it is not there yet; the controller makes it at its first start"
        )
    if named := list(settings.groups):
        found = calls.pages("ec2", "DescribeSecurityGroups", "SecurityGroups", GroupIds=named)
        seen.groups |= {str(each["GroupId"]): each async for each in found}
    for finding in reachable(settings, seen.groups):
        yield finding


def reachable(settings: Ec2Settings, groups: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Reach of pods, by the security groups that cells have; and whether load balancers find them."""
    sources = sorted({source for group in groups.values() for source in _sources(group)} - set(groups))
    if sources:
        yield Finding(Verdict.OK, "who reaches pods", f"other cells, and {', '.join(sources)}")
    elif settings.cluster_security_group:
        yield Finding(Verdict.OK, "who reaches pods", f"the members of {', '.join(sorted(groups))}")
    else:
        cause = "other cells only: no kubelet, Service, webhook or load balancer"
        yield Finding(Verdict.NOTE, "who reaches pods", cause, "behind a kubelet, set cloud.ec2.cluster_security_group")
    if settings.kubernetes_cluster:
        key = f"kubernetes.io/cluster/{settings.kubernetes_cluster}"
        bearing = sorted(name for name, group in groups.items() if key in tags_of(group))
        if len(bearing) > 1:
            cause = f"{', '.join(bearing)} all bear {key}: load balancers take none of the pods"
            yield Finding(Verdict.LACKS, "load balancers", cause, "leave all but one of them out")
        else:
            yield Finding(
                Verdict.OK, "load balancers", f"they find pods by {bearing[0] if bearing else 'the own group'}"
            )


def _sources(group: Mapping[str, Any]) -> Iterator[str]:
    for rule in cast("list[Mapping[str, Any]]", group.get("IpPermissions") or []):
        for pair in rule.get("UserIdGroupPairs") or ():
            yield str(pair.get("GroupId"))
        for block in rule.get("IpRanges") or ():
            yield str(block.get("CidrIp"))
        for block in rule.get("Ipv6Ranges") or ():
            yield str(block.get("CidrIpv6"))


async def _home(calls: Calls, homes: Sequence[str], seen: Network) -> AsyncIterator[Finding]:
    if not homes:
        yield Finding(
            Verdict.LACKS,
            "link.addresses",
            "it is empty: cells would not know whom to dial",
            'set it: ["10.0.0.10:7443"]',
        )
    for home in homes:
        host, _, port = home.rpartition(":")
        mine = [{"Name": "addresses.private-ip-address", "Values": [host.strip("[]")]}]
        found = calls.pages("ec2", "DescribeNetworkInterfaces", "NetworkInterfaces", Filters=mine)
        ids = [str(group["GroupId"]) async for each in found for group in each.get("Groups") or ()]
        if not ids:
            cause = "it is of no interface of this account and region, so its groups cannot be looked at"
            yield Finding(Verdict.NOTE, f"address {home}", cause, f"see that cells reach it by TCP on port {port}")
            continue
        groups = [each async for each in calls.pages("ec2", "DescribeSecurityGroups", "SecurityGroups", GroupIds=ids)]
        yield admitted(home, int(port), groups, seen)


def admitted(home: str, port: int, groups: Sequence[Mapping[str, Any]], seen: Network) -> Finding:
    """Whether cells may dial an address that is in these groups."""
    for group in groups:
        for rule in cast("list[Mapping[str, Any]]", group.get("IpPermissions") or []):
            open_ports = rule.get("IpProtocol") == "-1" or (
                rule.get("IpProtocol") == "tcp"
                and int(rule.get("FromPort", 0)) <= port <= int(rule.get("ToPort", 65535))
            )
            if open_ports and _from_cells(rule, seen):
                return Finding(Verdict.OK, f"address {home}", f"cells reach it by {group['GroupId']}")
    cause = f"none of its groups ({', '.join(str(each['GroupId']) for each in groups)}) admits cells on TCP port {port}"
    source = seen.own or "the group of the cells"
    return Finding(Verdict.LACKS, f"address {home}", cause, f"let {source} in: TCP {port}")


def _from_cells(rule: Mapping[str, Any], seen: Network) -> bool:
    if any(str(pair.get("GroupId")) in seen.groups for pair in rule.get("UserIdGroupPairs") or ()):
        return True
    open_to = [ipaddress.ip_network(str(each["CidrIp"]), strict=False) for each in rule.get("IpRanges") or ()]
    cells = [ipaddress.ip_network(each) for each in seen.blocks]
    return bool(cells) and all(
        any(
            isinstance(block, ipaddress.IPv4Network)
            and isinstance(wide, ipaddress.IPv4Network)
            and block.subnet_of(wide)
            for wide in open_to
        )
        for block in cells
    )
