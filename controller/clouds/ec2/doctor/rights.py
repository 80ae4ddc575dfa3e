"""Which actions the credentials allow: reading ones are asked for, the others by dry run, which changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.doctor.network_findings import Network
from controller.clouds.ec2.ec2_settings import TAG_CLUSTER, Ec2Settings
from controller.clouds.ec2.tags import tag_specifications
from controller.model.finding import Finding, Verdict

# EC2's answer to a dry run of what is allowed.
_WOULD = "DryRunOperation"
# Small, and in every region.
_TYPES = {"amd64": "t3.micro", "arm64": "t4g.micro"}
_READ = (
    ("DescribeInstanceStatus", {}, "failed checks and scheduled events are not heard"),
    ("DescribeInstanceTypes", {"MaxResults": 5}, "types newer than the bundled snapshot are not used"),
    ("DescribeInstanceTypeOfferings", {"MaxResults": 5}, "types are asked for in zones that have none"),
    ("DescribeSpotPriceHistory", {"MaxResults": 5}, "spot prices are guessed"),
    ("DescribeVolumes", {"MaxResults": 5}, "volumes that are left behind are not found"),
    ("DescribeLaunchTemplates", {"MaxResults": 5}, "templates that are left behind are not found"),
)
# What is tried on something of ours, where there is something: how to find one, and how to name it.
_ON_OURS = (
    ("TerminateInstances", "InstanceIds", "DescribeInstances"),
    ("DeleteLaunchTemplate", "LaunchTemplateId", "DescribeLaunchTemplates"),
    ("DeleteVolume", "VolumeId", "DescribeVolumes"),
)


async def look(settings: Ec2Settings, calls: Calls, seen: Network) -> AsyncIterator[Finding]:
    """A finding for each action. Raises nothing."""
    for action, which, lost in _READ:
        try:
            await calls.call("ec2", action, **which)
        except Fault as fault:
            yield Finding(
                Verdict.NOTE if fault.kind is Kind.DENIED else Verdict.LACKS,
                f"ec2:{action}",
                f"{fault.cause}; {lost}",
                fault.mend,
            )
        else:
            yield Finding(Verdict.OK, f"ec2:{action}")
    for action, parameters in _launching(settings, seen):
        yield await _dry(calls, action, parameters)
    for action, parameter, listing in _ON_OURS:
        found = await _one_of_ours(settings, calls, listing)
        if not found:
            yield Finding(Verdict.NOTE, f"ec2:{action}", "not tried: there is nothing of ours to try it on")
            continue
        yield await _dry(calls, action, {parameter: [found] if parameter.endswith("Ids") else found})


def _launching(settings: Ec2Settings, seen: Network) -> list[tuple[str, dict[str, Any]]]:
    tried: list[tuple[str, dict[str, Any]]] = []
    ours = tag_specifications(settings.own_tags, ["instance", "volume", "network-interface"])
    architecture = next((each for each in settings.images if each in _TYPES), "")
    if architecture and settings.subnets:
        card: dict[str, Any] = {"DeviceIndex": 0, "SubnetId": settings.subnets[0], "SecondaryPrivateIpAddressCount": 1}
        card |= {"Groups": list(seen.groups)} if seen.groups else {}
        one: dict[str, Any] = {"ImageId": settings.images[architecture], "InstanceType": _TYPES[architecture]}
        one |= {"MinCount": 1, "MaxCount": 1, "NetworkInterfaces": [card], "TagSpecifications": ours}
        one |= {"MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "disabled"}}
        if settings.instance_profile:
            which = "Arn" if settings.instance_profile.startswith("arn:") else "Name"
            one |= {"IamInstanceProfile": {which: settings.instance_profile}}
        tried.append(("RunInstances", one))
    name = f"chinampa-{settings.cluster}-doctor"
    template = {"LaunchTemplateName": name, "Version": "$Latest"}
    fleet: dict[str, Any] = {"Type": "instant", "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": template}]}
    fleet |= {"TargetCapacitySpecification": {"TotalTargetCapacity": 1}, "TagSpecifications": ours}
    tags = tag_specifications(settings.own_tags, ["launch-template"])
    made = {"LaunchTemplateName": name, "LaunchTemplateData": {"InstanceType": "t3.micro"}, "TagSpecifications": tags}
    tried += [("CreateLaunchTemplate", made), ("CreateFleet", fleet)]
    if not seen.own and seen.vpc:
        group = tag_specifications(settings.own_tags, ["security-group"])
        tried.append(
            (
                "CreateSecurityGroup",
                {"GroupName": name, "Description": name, "VpcId": seen.vpc, "TagSpecifications": group},
            )
        )
    return tried


async def _dry(calls: Calls, action: str, parameters: dict[str, Any]) -> Finding:
    try:
        await calls.call("ec2", action, DryRun=True, **parameters)
    except Fault as fault:
        # What EC2 does not find it looks for only after it has let the caller in.
        if fault.reason == _WOULD or (fault.kind is Kind.NOT_FOUND and action == "CreateFleet"):
            return Finding(Verdict.OK, f"ec2:{action}")
        return Finding(Verdict.LACKS, f"ec2:{action}", fault.cause, fault.mend)
    return Finding(Verdict.NOTE, f"ec2:{action}", "the dry run had no answer of the usual form")


async def _one_of_ours(settings: Ec2Settings, calls: Calls, listing: str) -> str:
    mine = [{"Name": f"tag:{TAG_CLUSTER}", "Values": [settings.cluster]}]
    if listing == "DescribeInstances":
        mine.append({"Name": "instance-state-name", "Values": ["pending", "running"]})
    try:
        answer = await calls.call("ec2", listing, Filters=mine)
    except Fault:
        return ""
    for reservation in answer.get("Reservations") or ():
        for each in reservation.get("Instances") or ():
            return str(each["InstanceId"])
    for each in answer.get("LaunchTemplates") or ():
        return str(each["LaunchTemplateId"])
    for each in answer.get("Volumes") or ():
        return str(each["VolumeId"])
    return ""
