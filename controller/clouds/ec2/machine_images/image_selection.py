"""Which machine image each architecture boots: the one that is named, or the newest of ours in the account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import AUTO, NONE, Ec2Settings
from controller.clouds.ec2.machine_images import own_images, stock_images
from controller.clouds.ec2.network import environment
from controller.clouds.ec2.network.environment import CurrentEnvironment

log = structlog.get_logger()


def may_change(settings: Ec2Settings) -> bool:
    """Whether the settings leave it to be found which image is the newest. Pure."""
    named = (settings.image_amd64, settings.image_arm64)
    return any(image in AUTO or stock_images.of("", image) for image in named)


async def resolved(settings: Ec2Settings, calls: Calls) -> Ec2Settings:
    """The settings with an image, or "", for each architecture. Raises Fault INVALID where there is none for any."""
    named = {"amd64": settings.image_amd64, "arm64": settings.image_arm64}
    for architecture, image in named.items():
        if found := stock_images.of(f"cloud.ec2.image_{architecture}", image):
            named[architecture] = await _newest_stock(calls, image, found, architecture)
    wanted = [architecture for architecture, image in named.items() if image in AUTO]
    if not wanted:
        return _with(settings, named)
    published = await own_images.published(calls)
    for architecture in wanted:
        found = own_images.newest(published, architecture)
        named[architecture] = found.id if found else ""
        if found:
            log.debug(
                "machine image", architecture=architecture, image=found.id, published=found.created, agent=found.agent
            )
    if not any(image for image in named.values() if image != NONE):
        cause = f"none is named, and none of ours is published in {settings.region}"
        mend = "bake one with `make image` and publish it with `chinampa image publish`"
        raise Fault(Kind.INVALID, "cloud.ec2.image_amd64", cause, mend)
    return _with(settings, named)


async def _newest_stock(calls: Calls, image: str, wanted: stock_images.StockImages, architecture: str) -> str:
    filters = [{"Name": "name", "Values": [wanted.name(architecture)]}, {"Name": "state", "Values": ["available"]}]
    pages = calls.pages("ec2", "DescribeImages", "Images", Owners=[wanted.owner], Filters=filters)
    found = [(str(one.get("CreationDate")), str(one["ImageId"])) async for one in pages]
    if not found:
        cause = f"account {wanted.owner} publishes none called {wanted.name(architecture)} in this region"
        raise Fault(Kind.INVALID, f"cloud.ec2.image_{architecture} {image}", cause, "name an image by its id")
    created, newest = max(found)
    log.debug("machine image", architecture=architecture, image=newest, published=created, stock=image)
    return newest


def _with(settings: Ec2Settings, named: dict[str, str]) -> Ec2Settings:
    chosen = {architecture: "" if image == NONE else image for architecture, image in named.items()}
    return msgspec.structs.replace(settings, image_amd64=chosen["amd64"], image_arm64=chosen["arm64"])


class Replacing:
    """Newer machine images in place of older ones while the controller runs, by what the settings ask for.

    What is launched from then on boots them, and warm cells of older ones are replaced by the pool, which sees that the
    cloud's image is another. `prepare` makes what a launch of the new ones needs.
    """

    def __init__(
        self, asked: Ec2Settings, calls: Calls, where: CurrentEnvironment, prepare: Callable[[], Awaitable[None]]
    ) -> None:
        self._asked = asked
        self._calls = calls
        self._where = where
        self._prepare = prepare

    async def work(self, every: float) -> None:
        """Look now and then, for ever; not at all where each image is named by its id."""
        while may_change(self._asked):
            await asyncio.sleep(every)
            try:
                await self.look()
            except Fault as fault:
                log.warning("newer machine images cannot be looked for; those in use stay", cause=str(fault))

    async def look(self) -> bool:
        """Take those that are there now; whether any is another. Raises Fault."""
        found = await resolved(self._asked, self._calls)
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
