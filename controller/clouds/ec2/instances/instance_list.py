"""All our instances, by one tag, in pages; never one call an instance.

Each is told under the client token that it was launched for. While a zone is out, EC2 fails each list that is not of
ids in other zones: then the instances that are known are asked for by id, zone by zone, and those of the zone that is
out stay as they were last seen. So an outage of one zone stops no launch in the others.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import errors
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import TAG_BATCH, TAG_CLUSTER, TAG_TOKEN, Ec2Settings
from controller.clouds.ec2.instances import roster
from controller.clouds.ec2.tags import fitting, tags_of
from controller.model.instance import Instance, InstanceState
from controller.model.names import InstanceId
from controller.model.offer import LaunchType

log = structlog.get_logger()
_PAGE = 1000
# EC2's most for one filter.
_MOST_VALUES = 200
# How long an instance that no list shows any more keeps its token: EC2 tells of an ended one for an hour.
_REMEMBERED_SECONDS = 3600.0
# So long after a list failed, what is known is asked for by id.
_WHOLE_AGAIN_SECONDS = 60.0
# What was launched a moment ago may be missing from a list.
_PAUSES = (0.0, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 3.0)
_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "shutting-down": InstanceState.STOPPING,
    "stopping": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "terminated": InstanceState.TERMINATED,
}


class InstanceList:
    """Instances as EC2 described them last. `named` is told of those whose token only their batch's roster says."""

    def __init__(
        self, settings: Ec2Settings, calls: Calls, named: Callable[[InstanceId, dict[str, str]], None]
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._named = named
        self.deals = roster.Deals()
        self._known: dict[InstanceId, Instance] = {}
        self._seen_at: dict[InstanceId, float] = {}
        self._parts: dict[InstanceId, tuple[str, ...]] = {}
        self._listed: tuple[Instance, ...] = ()
        self._begun = float("-inf")
        self._turn = asyncio.Lock()
        self._looked_for: set[str] = set()
        self._whole_again = float("-inf")

    async def all(self, since: float | None = None) -> tuple[Instance, ...]:
        """Every instance of the cluster, from a list that was begun after `since` (monotonic; now). Raises Fault."""
        since = time.monotonic() if since is None else since
        async with self._turn:
            if self._begun < since:
                begun = time.monotonic()
                self._listed = await self._look(begun)
                self._begun = begun
                self._forget(begun)
            return self._listed

    async def _look(self, now: float) -> tuple[Instance, ...]:
        if now >= self._whole_again:
            tag = {"Name": f"tag:{TAG_CLUSTER}", "Values": [self._settings.cluster]}
            try:
                return self.absorb(await self._described([tag]))
            except Fault as fault:
                if not errors.uncertain(fault) or not self._known:
                    raise
                log.warning("instances cannot be listed together; asking for them by zone", cause=str(fault))
                self._whole_again = now + _WHOLE_AGAIN_SECONDS
        return await self._zone_by_zone()

    async def _zone_by_zone(self) -> tuple[Instance, ...]:
        """What is known of each zone, renewed where that can be. Raises Fault where none of several can be asked."""
        zones: defaultdict[str, list[InstanceId]] = defaultdict(list)
        for instance in self._known.values():
            if instance.state is not InstanceState.TERMINATED:
                zones[instance.zone].append(instance.id)
        found: list[Instance] = []
        out: list[str] = []
        for zone, ids in sorted(zones.items()):
            try:
                found.extend(self.absorb(await self._described_by_id(ids)))
            except Fault as fault:
                # All of several zones at once: that is EC2 itself.
                if not errors.uncertain(fault) or 1 < len(zones) == len(out) + 1:
                    raise
                out.append(zone)
                found.extend(self._known[each] for each in ids)
        if out:
            log.warning("zones whose instances cannot be listed: they count as they were last seen", zones=out)
            self._whole_again = time.monotonic() + _WHOLE_AGAIN_SECONDS
        return tuple(found)

    def find(self, token: str) -> Instance | None:
        """The instance of a token, as last seen; None where it is not known, or not with its addresses."""
        instance = self.deals.instance_of(token)
        return self._known.get(instance) if instance is not None else None

    def lacking(self, instance: InstanceId, tags: Mapping[str, str]) -> dict[str, str]:
        """Which of these tags the instance had not, or otherwise, when it was last seen; none where it is unknown."""
        known = self._known.get(instance)
        if known is None:
            return {}
        return {key: value for key, value in fitting(tags).items() if known.tags.get(key) != value}

    def parts(self, instance: InstanceId) -> tuple[str, ...]:
        """The instance's volumes and interfaces, as last seen."""
        return self._parts.get(instance, ())

    async def look_up(self, batch: str, tokens: Iterable[str]) -> None:
        """Learn the addresses of what a batch launched; EC2 may take seconds to tell. Raises Fault."""
        wanted = [token for token in tokens if self.deals.instance_of(token) is not None]
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            if all(complete(self.find(token)) for token in wanted):
                return
            await self._look_up_together(batch, wanted)

    async def _look_up_together(self, batch: str, tokens: Sequence[str]) -> None:
        """Look a batch up, together with those that came while another look or list was under way."""
        self._looked_for.add(batch)
        try:
            async with self._turn:
                if batch not in self._looked_for or all(complete(self.find(token)) for token in tokens):
                    return  # somebody's look was for this one too
                together = sorted(self._looked_for)[:_MOST_VALUES]
                if batch not in together:
                    together[-1] = batch
                found = await self._of_batches(together, tokens)
                self._looked_for.difference_update(together)
                self.absorb(found)
        finally:
            self._looked_for.discard(batch)

    def absorb(self, described: Iterable[dict[str, Any]]) -> tuple[Instance, ...]:
        """Take in descriptions: who is whose, and what they look like."""
        entries = list(described)
        self._deal(entries)
        now = time.monotonic()
        found: list[Instance] = []
        for entry in entries:
            instance = instance_of(entry, self.deals.token_of(InstanceId(str(entry["InstanceId"]))))
            before = self._known.get(instance.id)
            if before is not None and not complete(instance):
                # An ended instance has no addresses any more.
                instance = msgspec.structs.replace(instance, address=before.address, pod_address=before.pod_address)
            self._known[instance.id] = instance
            self._parts[instance.id] = parts_of(entry)
            self._seen_at[instance.id] = now
            found.append(instance)
        return tuple(found)

    def _deal(self, entries: Iterable[dict[str, Any]]) -> None:
        batches: dict[str, tuple[tuple[str, ...], list[InstanceId]]] = {}
        members: defaultdict[str, list[InstanceId]] = defaultdict(list)
        for entry in entries:
            tags, instance = tags_of(entry), InstanceId(str(entry["InstanceId"]))
            if token := tags.get(TAG_TOKEN):
                self.deals.know(token, instance)
            if batch := tags.get(TAG_BATCH):
                members[batch].append(instance)
                batches[batch] = (roster.read(tags), members[batch])
        for tokens, instances in batches.values():
            for token, instance in self.deals.deal(tokens, instances):
                self._named(instance, {TAG_TOKEN: token})

    async def _described(self, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        pages = self._calls.pages("ec2", "DescribeInstances", "Reservations", Filters=filters, MaxResults=_PAGE)
        async for reservation in pages:
            found.extend(reservation.get("Instances") or ())
        return found

    async def _of_batches(self, batches: Sequence[str], tokens: Sequence[str]) -> list[dict[str, Any]]:
        if time.monotonic() >= self._whole_again:
            try:
                return await self._described([{"Name": f"tag:{TAG_BATCH}", "Values": list(batches)}])
            except Fault as fault:
                if not errors.uncertain(fault):
                    raise
                self._whole_again = time.monotonic() + _WHOLE_AGAIN_SECONDS
        ids = [instance for token in tokens if (instance := self.deals.instance_of(token)) is not None]
        return await self._described_by_id(ids)

    async def _described_by_id(self, ids: Sequence[InstanceId]) -> list[dict[str, Any]]:
        """Descriptions of the instances that EC2 knows: not of one long ended, nor yet of one launched this moment."""
        found: list[dict[str, Any]] = []
        for first in range(0, len(ids), _MOST_VALUES):
            asked = [str(each) for each in ids[first : first + _MOST_VALUES]]
            while asked:
                try:
                    answer = await self._calls.call("ec2", "DescribeInstances", InstanceIds=asked)
                except Fault as fault:
                    unknown = errors.ids_named(fault.cause) & set(asked)
                    if fault.kind is not Kind.NOT_FOUND or not unknown:
                        raise
                    asked = [each for each in asked if each not in unknown]
                    continue
                for reservation in answer.get("Reservations") or ():
                    found.extend(reservation.get("Instances") or ())
                break
        return found

    def _forget(self, now: float) -> None:
        for instance, seen in list(self._seen_at.items()):
            if now - seen > _REMEMBERED_SECONDS:
                del self._seen_at[instance]
                self._known.pop(instance, None)
                self._parts.pop(instance, None)
                self.deals.forget(instance)


def complete(instance: Instance | None) -> bool:
    """Whether all is known that a cell's record needs; an ended instance has no more to tell."""
    if instance is None:
        return False
    return bool(instance.address and instance.pod_address) or instance.state is InstanceState.TERMINATED


def instance_of(described: Mapping[str, Any], client_token: str) -> Instance:
    """An instance, from its entry of DescribeInstances or RunInstances. Pure."""
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
    """The volumes and interfaces of an instance, which have tags of their own. Pure."""
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
