"""Leftovers: resources that are tagged as ours and used by nobody. Deletes what two looks in a row have found.

Instances are the fleet's business. Volumes and interfaces normally go with their instance; templates stay as long as
launches need them; a security group stays when the cluster moves to another VPC.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import TAG_CLUSTER, Ec2Settings
from controller.clouds.ec2.network.environment import Ec2Environment

log = structlog.get_logger()


class Leftover(msgspec.Struct, frozen=True):
    """One thing that nobody uses: how to delete it, by which parameter, and its id."""

    action: str
    parameter: str
    id: str


class LeftoverCollector:
    """See the module. `templates` tells the names of those that are in use."""

    def __init__(
        self, settings: Ec2Settings, calls: Calls, place: Ec2Environment, templates: Callable[[], frozenset[str]]
    ) -> None:
        self._templates_in_use = templates
        self._settings = settings
        self._calls = calls
        self._place = place
        self._before: frozenset[Leftover] = frozenset()

    async def work(self) -> None:
        """Look and delete, for ever."""
        while True:
            await asyncio.sleep(self._settings.leftovers_seconds)
            await self.sweep()

    async def sweep(self) -> tuple[Leftover, ...]:
        """Look once; delete what was there the last time too. What was deleted. Raises nothing."""
        found = frozenset([each async for each in self._found(time.time())])
        due, self._before = found & self._before, found
        deleted: list[Leftover] = []
        for leftover in sorted(due, key=msgspec.structs.astuple):
            try:
                which: dict[str, Any] = {leftover.parameter: leftover.id}
                await self._calls.call("ec2", leftover.action, **which)
            except Fault as fault:
                if fault.kind is not Kind.NOT_FOUND:
                    log.warning("a leftover could not be deleted", id=leftover.id, cause=str(fault))
                continue
            log.info("deleted a leftover", action=leftover.action, id=leftover.id)
            deleted.append(leftover)
        return tuple(deleted)

    async def _found(self, now: float) -> AsyncIterator[Leftover]:
        """All kinds; one that cannot be looked at keeps no other from being cleared up."""
        for kind in (self._volumes(), self._interfaces(), self._templates(now), self._groups()):
            try:
                async for leftover in kind:
                    yield leftover
            except Fault as fault:
                log.warning("leftovers of one kind cannot be looked for", cause=str(fault))

    async def _volumes(self) -> AsyncIterator[Leftover]:
        async for volume in self._ours("DescribeVolumes", "Volumes", status="available"):
            yield Leftover("DeleteVolume", "VolumeId", str(volume["VolumeId"]))

    async def _interfaces(self) -> AsyncIterator[Leftover]:
        async for interface in self._ours("DescribeNetworkInterfaces", "NetworkInterfaces", status="available"):
            yield Leftover("DeleteNetworkInterface", "NetworkInterfaceId", str(interface["NetworkInterfaceId"]))

    async def _templates(self, now: float) -> AsyncIterator[Leftover]:
        used = self._templates_in_use()
        async for template in self._ours("DescribeLaunchTemplates", "LaunchTemplates"):
            if template.get("LaunchTemplateName") in used:
                continue
            made = template.get("CreateTime")
            age = now - made.timestamp() if isinstance(made, datetime) else 0.0
            if age > self._settings.template_seconds:
                yield Leftover("DeleteLaunchTemplate", "LaunchTemplateId", str(template["LaunchTemplateId"]))

    async def _groups(self) -> AsyncIterator[Leftover]:
        wanted = {self._place.security_group, *self._settings.groups}
        async for group in self._ours("DescribeSecurityGroups", "SecurityGroups"):
            if group["GroupId"] not in wanted:
                yield Leftover("DeleteSecurityGroup", "GroupId", str(group["GroupId"]))

    def _ours(self, action: str, key: str, **filters: str) -> AsyncIterator[dict[str, Any]]:
        wanted = {f"tag:{TAG_CLUSTER}": self._settings.cluster, **filters}
        listed = [{"Name": name, "Values": [value]} for name, value in wanted.items()]
        # 200 is the most that all four allow.
        return self._calls.pages("ec2", action, key, Filters=listed, MaxResults=200)
