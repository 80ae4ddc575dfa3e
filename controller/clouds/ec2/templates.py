"""Launch templates: EC2 makes fleets of nothing else. One for each content, made once, collected when it is old."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import form
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.form import Build, Form, Place
from controller.clouds.ec2.settings import Ec2Settings


class Templates:
    """Makes them; `leftovers` collects them."""

    def __init__(self, settings: Ec2Settings, calls: Calls, place: Place) -> None:
        self._settings = settings
        self._calls = calls
        self._place = place
        self._made: dict[str, float] = {}
        self._making = asyncio.Lock()

    async def named(self, its: Form, builds: Iterable[Build], tags: Mapping[str, str]) -> dict[Build, str]:
        """The name of a template of this form for each build. `tags` are for volumes and interfaces. Raises Fault."""
        found: dict[Build, str] = {}
        # A name is used for half of a template's life, so that none is collected under our hands.
        period = int(time.time() // (self._settings.template_seconds / 2))
        for build in builds:
            data = form.launch_data(its, build, self._settings, self._place)
            data["UserData"] = base64.b64encode(form.packed_user_data(its.user_data)).decode()
            data["TagSpecifications"] = form.tag_specifications(tags, ["volume", "network-interface"])
            name = f"chinampa-{self._settings.cluster}-{form.digest(data)[:24]}-{period:x}"
            async with self._making:
                if name not in self._made:
                    await self._make(name, data)
            found[build] = name
        return found

    def forget(self) -> None:
        """EC2 says that it lacks one: make them anew."""
        self._made.clear()

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
                TagSpecifications=form.tag_specifications(self._settings.own_tags, ["launch-template"]),
            )
        except Fault as fault:
            if fault.kind is not Kind.EXISTS:
                raise
        now = time.monotonic()
        self._made = {each: at for each, at in self._made.items() if now - at < self._settings.template_seconds}
        self._made[name] = now
