"""Launch templates: EC2 makes fleets of nothing else. A handful serves nearly all pods, and is made at the start.

What differs from pod to pod, user-data above all, is said by each CreateFleet itself. So no launch waits for a template
but the first of its security groups, tenancy, reservation or kind of address.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable
from typing import Any

import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.launch import launch_spec
from controller.clouds.ec2.launch.launch_spec import Build, LaunchSpec
from controller.clouds.ec2.network.environment import CurrentEnvironment
from controller.clouds.ec2.tags import digest, tag_specifications

log = structlog.get_logger()


class LaunchTemplates:
    """Makes them; `leftovers` collects those that are not in use."""

    def __init__(self, settings: Ec2Settings, calls: Calls, where: CurrentEnvironment) -> None:
        self._settings = settings
        self._calls = calls
        self._where = where
        self._made: set[str] = set()
        self._used: dict[str, float] = {}
        self._making = asyncio.Lock()

    async def prepare(self) -> None:
        """Make those that pods without special requirements need. Raises nothing: a launch tries again, and tells."""
        try:
            await self.named(launch_spec.plain(self._settings), self._usual())
        except Fault as fault:
            log.warning("launch templates cannot be made yet", cause=str(fault))

    async def named(self, its: LaunchSpec, builds: Iterable[Build]) -> dict[Build, str]:
        """The name of a template with the frame of this launch spec, for each build. Raises Fault."""
        found: dict[Build, str] = {}
        for build in builds:
            name = self._name(its, build)
            self._used[name] = time.monotonic()
            if name not in self._made:
                async with self._making:
                    if name not in self._made:
                        await self._make(name, launch_spec.frame(its, build, self._settings, self._where.now))
            found[build] = name
        return found

    def in_use(self) -> frozenset[str]:
        """Names of those that are needed, or were lately."""
        now = time.monotonic()
        self._used = {name: at for name, at in self._used.items() if now - at < self._settings.template_seconds}
        usual = self._usual().values()
        self._made &= self._used.keys() | set(usual)
        return frozenset((*self._used, *usual))

    def forget(self) -> None:
        """EC2 says that it lacks one: make them anew."""
        self._made.clear()

    def _usual(self) -> dict[Build, str]:
        """The names of those that pods without special requirements need."""
        builds = (Build(each, burstable) for each in self._where.now.images for burstable in (False, True))
        return {build: self._name(launch_spec.plain(self._settings), build) for build in builds}

    def _name(self, its: LaunchSpec, build: Build) -> str:
        data = launch_spec.frame(its, build, self._settings, self._where.now)
        return f"chinampa-{self._settings.cluster}-{digest(data)[:24]}"

    async def _make(self, name: str, data: dict[str, Any]) -> None:
        # The name makes it unique. A token that was used before would have EC2 answer that a template which somebody
        # has deleted since is made.
        token = secrets.token_hex(20)
        try:
            await self._calls.call(
                "ec2",
                "CreateLaunchTemplate",
                LaunchTemplateName=name,
                LaunchTemplateData=data,
                ClientToken=token,
                TagSpecifications=tag_specifications(self._settings.own_tags, ["launch-template"]),
            )
        except Fault as fault:
            if fault.kind is not Kind.EXISTS:
                raise
        self._made.add(name)
