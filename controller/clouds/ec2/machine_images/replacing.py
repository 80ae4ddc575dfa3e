"""Newer machine images in place of older ones while the controller runs: what is launched from then on boots them, and
warm cells of older ones are replaced by the pool, which sees that the cloud's image is another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from cellwire.faults import Fault
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.machine_images import image_selection
from controller.clouds.ec2.network import environment
from controller.clouds.ec2.network.environment import CurrentEnvironment

log = structlog.get_logger()


class Replacing:
    """Looks for them by what the settings ask for. `prepare` makes what a launch of the new ones needs."""

    def __init__(
        self, asked: Ec2Settings, calls: Calls, where: CurrentEnvironment, prepare: Callable[[], Awaitable[None]]
    ) -> None:
        self._asked = asked
        self._calls = calls
        self._where = where
        self._prepare = prepare

    async def work(self, every: float) -> None:
        """Look now and then, for ever; not at all where each image is named by its id."""
        while image_selection.may_change(self._asked):
            await asyncio.sleep(every)
            try:
                await self.look()
            except Fault as fault:
                log.warning("newer machine images cannot be looked for; those in use stay", cause=str(fault))

    async def look(self) -> bool:
        """Take those that are there now; whether any is another. Raises Fault."""
        found = await image_selection.resolved(self._asked, self._calls)
        before = self._where.now
        # An architecture of which there was none at the start is not sold, so it needs no image either.
        images = {name: found.images.get(name, image) for name, image in before.images.items()}
        if images == before.images:
            return False
        roots = await environment.roots_of(found, self._calls)
        self._where.now = msgspec.structs.replace(before, images=images, roots={**before.roots, **roots})
        log.info("newer machine images: idle cells of the older ones are replaced", **images)
        await self._prepare()
        return True
