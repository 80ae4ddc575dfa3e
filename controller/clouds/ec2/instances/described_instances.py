"""Instances as EC2 describes them, in our words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from controller.clouds.ec2.tags import tags_of
from controller.model.instance import Instance, InstanceState
from controller.model.names import InstanceId
from controller.model.offer import LaunchType

_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "shutting-down": InstanceState.STOPPING,
    "stopping": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "terminated": InstanceState.TERMINATED,
}


def instance_of(described: Mapping[str, Any], client_token: str) -> Instance:
    """One entry of DescribeInstances or RunInstances."""
    reason = described.get("StateReason") or {}
    launched = described.get("LaunchTime")
    return Instance(
        id=InstanceId(str(described["InstanceId"])),
        state=_STATES.get(str((described.get("State") or {}).get("Name", "")), InstanceState.PENDING),
        type=str(described.get("InstanceType", "")),
        zone=str((described.get("Placement") or {}).get("AvailabilityZone", "")),
        launch_type=LaunchType.SPOT if described.get("InstanceLifecycle") == "spot" else LaunchType.ON_DEMAND,
        client_token=client_token,
        address=str(described.get("PrivateIpAddress") or ""),
        pod_address=_second_address(described),
        launched_at=launched.timestamp() if isinstance(launched, datetime) else 0.0,
        tags=tags_of(described),
        state_reason=str(reason.get("Message") or reason.get("Code") or described.get("StateTransitionReason") or ""),
    )


def parts_of(described: Mapping[str, Any]) -> tuple[str, ...]:
    """Its volumes and interfaces, which have tags of their own."""
    disks = cast("list[dict[str, Any]]", described.get("BlockDeviceMappings") or [])
    volumes = (str((each.get("Ebs") or {}).get("VolumeId") or "") for each in disks)
    interfaces = cast("list[dict[str, Any]]", described.get("NetworkInterfaces") or [])
    cards = (str(each.get("NetworkInterfaceId") or "") for each in interfaces)
    return tuple(part for part in (*volumes, *cards) if part)


def _second_address(described: Mapping[str, Any]) -> str:
    interfaces = cast("list[dict[str, Any]]", described.get("NetworkInterfaces") or [])
    first = next((each for each in interfaces if (each.get("Attachment") or {}).get("DeviceIndex", 0) == 0), None)
    addresses = cast("list[dict[str, Any]]", (first or {}).get("PrivateIpAddresses") or [])
    return next((str(each["PrivateIpAddress"]) for each in addresses if not each.get("Primary")), "")
