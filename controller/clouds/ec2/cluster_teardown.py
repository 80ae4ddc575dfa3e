"""Ends all that bears a cluster's tag in an account and region, and nothing else. It needs no running controller.

In the order in which one thing holds another: instances first, whose volumes and interfaces mostly go with them, then
routes to them, what they left behind, templates, and the security group. Each look takes in what an earlier one could
not end yet, so it can be run again after anything, and what AWS throttles is waited out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import TAG_CLUSTER, Ec2Settings
from controller.clouds.ec2.machine_images.own_images import TAG_CELL
from controller.clouds.ec2.network import route_plan
from controller.clouds.ec2.network.route_plan import TAG_ROUTE
from controller.clouds.ec2.tags import tags_of

INSTANCE, ROUTE, INTERFACE, VOLUME = "instance", "route", "interface", "volume"
TEMPLATE, GROUP, IMAGE, SNAPSHOT = "launch template", "security group", "image", "snapshot"
KINDS = (INSTANCE, ROUTE, INTERFACE, VOLUME, TEMPLATE, GROUP, IMAGE, SNAPSHOT)
"""In the order in which they can be ended."""
_LIVING = ("pending", "running", "stopping", "stopped", "shutting-down")
_AT_ONCE = 500
_PAGE = 200
# What hangs on an instance is let go some seconds after its end.
_AGAIN = (1.0, 2.0, 3.0, 5.0, 5.0, 10.0, 10.0, 20.0, 20.0, 30.0, 30.0, 30.0, 60.0, 60.0)


class Thing(msgspec.Struct, frozen=True):
    """One thing that bears the tag. `name` is for people; `of` is the table of a route."""

    kind: str
    id: str
    name: str = ""
    of: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """Outcome of a teardown: resources that were ended, and those that could not be, with the reason."""

    ended: tuple[Thing, ...]
    left: tuple[tuple[Thing, str], ...]


async def found(settings: Ec2Settings, calls: Calls, *, images: bool = False) -> tuple[Thing, ...]:
    """All that there is to end, in order. Raises Fault where AWS does not tell."""
    look = _Inventory(settings, calls)
    things = [each async for each in look.all()]
    if images:
        things += [each async for each in look.images()]
    return tuple(sorted(things, key=lambda each: (KINDS.index(each.kind), each.of, each.id)))


async def end(
    settings: Ec2Settings, calls: Calls, *, images: bool = False, told: Callable[[Thing], None] = lambda _: None
) -> Outcome:
    """End it all: look and end until nothing is left, or no more can be ended. `told` hears of each thing that is gone.

    Raises Fault where AWS does not tell what there is.
    """
    seen: dict[Thing, None] = {}
    gone: set[Thing] = set()
    there: tuple[Thing, ...] = ()
    why: dict[Thing, Fault] = {}
    for pause in (*_AGAIN, None):
        try:
            there = await found(settings, calls, images=images)
        except Fault as fault:
            if fault.kind is not Kind.UNAVAILABLE or pause is None:
                raise
            await asyncio.sleep(pause)
            continue
        for each in [each for each in seen if each not in there and each not in gone]:
            gone.add(each)
            told(each)
        seen.update(dict.fromkeys(there))
        if not there or pause is None or (why and all(each.kind is Kind.DENIED for each in why.values())):
            break
        why = await _end_all(calls, there)
        await asyncio.sleep(pause)
    ended = tuple(each for each in seen if each not in there)
    return Outcome(ended, tuple((each, str(why.get(each, "it is still there"))) for each in there))


async def _end_all(calls: Calls, there: Sequence[Thing]) -> dict[Thing, Fault]:
    """Ask for the end of all that can end now; the faults of what could not be asked for."""
    instances = [each for each in there if each.kind == INSTANCE]
    faults: dict[Thing, Fault] = {}
    for first in range(0, len(instances), _AT_ONCE):
        faults.update(await _end_instances(calls, instances[first : first + _AT_ONCE]))
    # What an instance holds cannot go before it has gone.
    held = {INTERFACE, VOLUME, GROUP} if instances else set[str]()
    for each in there:
        if each.kind == INSTANCE or each.kind in held:
            continue
        try:
            await _end_one(calls, each)
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                faults[each] = fault
    return faults


async def _end_instances(calls: Calls, things: Sequence[Thing]) -> dict[Thing, Fault]:
    """All by one call, or where EC2 refuses that, one by one."""
    try:
        ids = [each.id for each in things]
        await calls.call("ec2", "TerminateInstances", resources=len(ids), InstanceIds=ids, SkipOsShutdown=True)
    except Fault as fault:
        if len(things) == 1:
            return {} if fault.kind is Kind.NOT_FOUND else {things[0]: fault}
        if fault.kind in {Kind.DENIED, Kind.UNAVAILABLE}:
            return dict.fromkeys(things, fault)
        faults: dict[Thing, Fault] = {}
        for each in things:
            faults.update(await _end_instances(calls, [each]))
        return faults
    return {}


async def _end_one(calls: Calls, thing: Thing) -> None:
    match thing.kind:
        case "route":
            key = "DestinationIpv6CidrBlock" if ":" in thing.id else "DestinationCidrBlock"
            if thing.name:  # it leads to an interface still
                await _unless_gone(calls, "DeleteRoute", RouteTableId=thing.of, **{key: thing.id})
            await calls.call("ec2", "DeleteTags", Resources=[thing.of], Tags=[{"Key": f"{TAG_ROUTE}{thing.id}"}])
        case "interface":
            await calls.call("ec2", "DeleteNetworkInterface", NetworkInterfaceId=thing.id)
        case "volume":
            await calls.call("ec2", "DeleteVolume", VolumeId=thing.id)
        case "launch template":
            await calls.call("ec2", "DeleteLaunchTemplate", LaunchTemplateId=thing.id)
        case "security group":
            await calls.call("ec2", "DeleteSecurityGroup", GroupId=thing.id)
        case "image":
            await calls.call("ec2", "DeregisterImage", ImageId=thing.id)
        case _:
            await calls.call("ec2", "DeleteSnapshot", SnapshotId=thing.id)


async def _unless_gone(calls: Calls, action: str, **which: Any) -> None:
    try:
        await calls.call("ec2", action, **which)
    except Fault as fault:
        if fault.kind is not Kind.NOT_FOUND:
            raise


class _Inventory:
    """One look at an account."""

    def __init__(self, settings: Ec2Settings, calls: Calls) -> None:
        self._settings = settings
        self._calls = calls

    async def all(self) -> AsyncIterator[Thing]:
        """What bears the cluster's tag."""
        states: dict[str, list[str]] = {"instance-state-name": list(_LIVING)}
        async for reservation in self._ours("DescribeInstances", "Reservations", **states):
            for each in reservation.get("Instances") or ():
                yield Thing(INSTANCE, str(each["InstanceId"]), tags_of(each).get("Name", ""))
        async for route in self._routes():
            yield route
        for kind, action, key, name in (
            (INTERFACE, "DescribeNetworkInterfaces", "NetworkInterfaces", "NetworkInterfaceId"),
            (VOLUME, "DescribeVolumes", "Volumes", "VolumeId"),
            (TEMPLATE, "DescribeLaunchTemplates", "LaunchTemplates", "LaunchTemplateId"),
            (GROUP, "DescribeSecurityGroups", "SecurityGroups", "GroupId"),
        ):
            async for each in self._ours(action, key):
                called = each.get("LaunchTemplateName") or each.get("GroupName") or ""
                yield Thing(kind, str(each[name]), str(called))

    async def _routes(self) -> AsyncIterator[Thing]:
        # A table is not ours; the tags on it say which of its routes are.
        async for each in self._calls.pages("ec2", "DescribeRouteTables", "RouteTables", MaxResults=100):
            table = route_plan.table(each, self._settings.cluster)
            for drop in route_plan.plan([table], {}, {}).drops:
                yield Thing(ROUTE, drop.network, str(table.owners[drop.network]) if drop.route else "", drop.table)

    async def images(self) -> AsyncIterator[Thing]:
        """Images of cells, of all clusters of the account, but for those that instances of others run."""
        used: set[str] = set()
        living = [{"Name": "instance-state-name", "Values": list(_LIVING)}]
        async for reservation in self._calls.pages(
            "ec2", "DescribeInstances", "Reservations", Filters=living, MaxResults=_PAGE
        ):
            for each in reservation.get("Instances") or ():
                if tags_of(each).get(TAG_CLUSTER) != self._settings.cluster:
                    used.add(str(each.get("ImageId")))
        ours = [{"Name": "tag-key", "Values": [TAG_CELL]}]
        kept: set[str] = set()
        async for each in self._calls.pages("ec2", "DescribeImages", "Images", Owners=["self"], Filters=ours):
            if str(each["ImageId"]) not in used:
                yield Thing(IMAGE, str(each["ImageId"]), str(each.get("Name") or ""))
                continue
            kept.update(
                str((mapping.get("Ebs") or {}).get("SnapshotId")) for mapping in each.get("BlockDeviceMappings") or ()
            )
        async for each in self._calls.pages("ec2", "DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=ours):
            if str(each["SnapshotId"]) not in kept:
                yield Thing(SNAPSHOT, str(each["SnapshotId"]), str(each.get("Description") or ""))

    def _ours(self, action: str, key: str, **filters: list[str]) -> AsyncIterator[dict[str, Any]]:
        wanted = {f"tag:{TAG_CLUSTER}": [self._settings.cluster], **filters}
        listed = [{"Name": name, "Values": values} for name, values in wanted.items()]
        return self._calls.pages("ec2", action, key, Filters=listed, MaxResults=_PAGE)
