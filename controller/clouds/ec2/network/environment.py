"""Environment of launches: the account, its VPC and subnets, machine images, and a security group of our own."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.tags import tag_list, tag_specifications, tags_of

# EC2 may not know a group by its id for a moment after it has made it. A start that ended there would leave the group
# without its rule for good: the next start finds it by its name.
_KNOWN_AFTER = (0.0, 0.5, 1.0, 2.0, 4.0)


class Ec2Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where instances are launched, as found when the cloud was opened.

    `zones` is subnet to zone; `images` is the machine image of each architecture, `roots` image to its root device and
    the least GB that it needs.
    """

    account: str
    vpc: str
    zones: dict[str, str]
    security_group: str
    images: dict[str, str]
    roots: dict[str, tuple[str, int]]

    def subnets_of(self, zone: str) -> tuple[str, ...]:
        """The subnets in a zone, in a steady order."""
        return tuple(sorted(subnet for subnet, its in self.zones.items() if its == zone))


class CurrentEnvironment:
    """The place as it is now: newer machine images may take the place of older ones."""

    def __init__(self, place: Ec2Environment) -> None:
        self.now = place


async def find(settings: Ec2Settings, calls: Calls) -> Ec2Environment:
    """Look it all up, make the security group where it is missing. Raises Fault naming the setting to mend."""
    if not settings.subnets:
        raise Fault(Kind.INVALID, "cloud.ec2.subnets", "it is empty", "name the subnets in which instances may be")
    account = settings.account or str((await calls.call("sts", "GetCallerIdentity"))["Account"])
    zones, vpc = await _subnets(settings, calls)
    roots = await roots_of(settings, calls)
    group = await _security_group(settings, calls, vpc)
    if settings.kubernetes_cluster:
        await _be_found(settings, calls, group)
    return Ec2Environment(
        account=account, vpc=vpc, zones=zones, security_group=group, images=settings.images, roots=roots
    )


async def _subnets(settings: Ec2Settings, calls: Calls) -> tuple[dict[str, str], str]:
    found = [each async for each in calls.pages("ec2", "DescribeSubnets", "Subnets", SubnetIds=list(settings.subnets))]
    vpcs = {str(each["VpcId"]) for each in found}
    if len(vpcs) != 1:
        cause = f"they are of {len(vpcs)} VPCs"
        raise Fault(Kind.INVALID, "cloud.ec2.subnets", cause, "name subnets of one VPC")
    if native := [str(each["SubnetId"]) for each in found if each.get("Ipv6Native")]:
        cause = f"{', '.join(native)} gives IPv6 addresses only, and a pod needs an IPv4 address of its own"
        raise Fault(Kind.INVALID, "cloud.ec2.subnets", cause, "name subnets with IPv4 addresses")
    return {str(each["SubnetId"]): str(each["AvailabilityZone"]) for each in found}, vpcs.pop()


async def roots_of(settings: Ec2Settings, calls: Calls) -> dict[str, tuple[str, int]]:
    """Root device, and the least GB that it needs, of each machine image. Raises Fault INVALID for one that is none."""
    images = sorted(set(settings.images.values()))
    roots: dict[str, tuple[str, int]] = {}
    async for image in calls.pages("ec2", "DescribeImages", "Images", ImageIds=images):
        device = settings.root_device or str(image.get("RootDeviceName") or "/dev/xvda")
        least = [
            int((mapping.get("Ebs") or {}).get("VolumeSize") or 0)
            for mapping in image.get("BlockDeviceMappings") or ()
            if mapping.get("DeviceName") == image.get("RootDeviceName")
        ]
        roots[str(image["ImageId"])] = (device, max(least, default=0))
    if missing := [image for image in images if image not in roots]:
        mend = "name one that this account may launch"
        raise Fault(Kind.INVALID, f"image {missing[0]}", f"{settings.region} has none of that id", mend)
    return roots


async def _security_group(settings: Ec2Settings, calls: Calls, vpc: str) -> str:
    """The cluster's own group: its members may reach each other, and everything outside."""
    name = f"chinampa-{settings.cluster}"
    if group := await _group_named(calls, name, vpc):
        return group
    try:
        made = await calls.call(
            "ec2",
            "CreateSecurityGroup",
            GroupName=name,
            Description=f"Cells of the Chinampa cluster {settings.cluster}",
            VpcId=vpc,
            TagSpecifications=tag_specifications(settings.own_tags, ["security-group"]),
        )
    except Fault as fault:
        group = await _group_named(calls, name, vpc) if fault.kind is Kind.EXISTS else ""
        if not group:
            raise
        return group
    group = str(made["GroupId"])
    await _let_members_in(calls, group)
    return group


async def _be_found(settings: Ec2Settings, calls: Calls, own: str) -> None:
    """Have exactly one group of an instance bear the cluster's tag: the load balancers' controller gives up on an
    interface with several (aws-load-balancer-controller, "expected exactly one securityGroup tagged with …").
    """
    key = f"kubernetes.io/cluster/{settings.kubernetes_cluster}"
    named = [own, *(each for each in settings.groups if each != own)]
    found = calls.pages("ec2", "DescribeSecurityGroups", "SecurityGroups", GroupIds=named)
    bearing = {str(each["GroupId"]) async for each in found if key in tags_of(each)}
    if not bearing:
        await calls.call("ec2", "CreateTags", Resources=[own], Tags=tag_list({key: "owned"}))
    elif len(bearing) > 1 and own in bearing:
        await calls.call("ec2", "DeleteTags", Resources=[own], Tags=[{"Key": key}])
        bearing.discard(own)
    if len(bearing) > 1:
        cause = f"{', '.join(sorted(bearing))} all bear the tag {key}, and load balancers take interfaces with one only"
        raise Fault(Kind.INVALID, "cloud.ec2.security_groups", cause, "leave all but one of them out")


async def _let_members_in(calls: Calls, group: str) -> None:
    within: list[dict[str, Any]] = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
    for pause in _KNOWN_AFTER:
        await asyncio.sleep(pause)
        try:
            await calls.call("ec2", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=within)
        except Fault as fault:
            if fault.kind is Kind.EXISTS:
                return
            if fault.kind is not Kind.NOT_FOUND or pause == _KNOWN_AFTER[-1]:
                raise
        else:
            return


async def _group_named(calls: Calls, name: str, vpc: str) -> str:
    filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
    async for group in calls.pages("ec2", "DescribeSecurityGroups", "SecurityGroups", Filters=filters):
        return str(group["GroupId"])
    return ""
