"""Which machine image each architecture boots: the one that is named, the newest of ours in the account, or the newest
stock image of a distribution.

Sources: "Debian wiki, Cloud/AmazonEC2Image" and "Ubuntu on AWS: find Ubuntu images" for accounts and names. Another
distribution is refused here, before anything is launched that could not start the agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import AUTO, NONE, Ec2Settings
from controller.clouds.ec2.machine_images import own_images
from controller.clouds.ec2.network import environment
from controller.clouds.ec2.network.environment import CurrentEnvironment

log = structlog.get_logger()
STOCK_PREFIX = "stock:"
_DEBIAN, _CANONICAL = "136693071363", "099720109477"


class StockImages(msgspec.Struct, frozen=True):
    """A distribution's images: their owner's account, and their names with "{}" for the architecture."""

    owner: str
    pattern: str

    def name(self, architecture: str) -> str:
        """What its images of an architecture are called, with a wildcard for the day."""
        return self.pattern.format(architecture)


DISTRIBUTIONS = {
    "debian-12": StockImages(_DEBIAN, "debian-12-{}-*"),
    "debian-13": StockImages(_DEBIAN, "debian-13-{}-*"),
    "ubuntu-24.04": StockImages(_CANONICAL, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{}-server-*"),
}


def stock_images(setting: str, image: str) -> StockImages | None:
    """The stock images that a setting asks for; None where it names an image itself. Pure. Raises Fault INVALID."""
    if not image.startswith(STOCK_PREFIX):
        return None
    name = image.removeprefix(STOCK_PREFIX)
    if name not in DISTRIBUTIONS:
        known = ", ".join(STOCK_PREFIX + each for each in DISTRIBUTIONS)
        mend = f"name one of {known}, or an image with the agent on it"
        raise Fault(Kind.INVALID, f"{setting} {image}", "the agent's bundle is not tried on it", mend)
    return DISTRIBUTIONS[name]


def may_change(settings: Ec2Settings) -> bool:
    """Whether the settings leave it to be found which image is the newest. Pure."""
    named = (settings.image_amd64, settings.image_arm64)
    return any(image in AUTO or stock_images("", image) for image in named)


async def resolved(settings: Ec2Settings, calls: Calls) -> Ec2Settings:
    """The settings with an image, or "", for each architecture. Raises Fault INVALID where there is none for any."""
    named = {"amd64": settings.image_amd64, "arm64": settings.image_arm64}
    for architecture, image in named.items():
        if found := stock_images(f"cloud.ec2.image_{architecture}", image):
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


async def _newest_stock(calls: Calls, image: str, wanted: StockImages, architecture: str) -> str:
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
