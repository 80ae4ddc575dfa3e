"""The EC2 cloud: its parts, opened in order, under one group of tasks.

Every call to AWS goes through `calls`; what is asked for one at a time is gathered by `launch` and `terminate`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from controller.clouds.ec2 import calls as door
from controller.clouds.ec2 import errors, identity_document
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.ecr import EcrLogins
from controller.clouds.ec2.instances import console
from controller.clouds.ec2.instances.instance_list import InstanceList
from controller.clouds.ec2.instances.tagging import Tagging
from controller.clouds.ec2.instances.terminator import Terminator
from controller.clouds.ec2.launch.launcher import Launcher
from controller.clouds.ec2.launch.reservations import Reservations
from controller.clouds.ec2.leftovers import LeftoverCollector
from controller.clouds.ec2.machine_images import image_selection
from controller.clouds.ec2.machine_images.image_selection import Replacing
from controller.clouds.ec2.market.offers import Offers
from controller.clouds.ec2.market.price_feed import PriceFeed
from controller.clouds.ec2.network import environment
from controller.clouds.ec2.network.environment import CurrentEnvironment, Ec2Environment
from controller.clouds.ec2.network.route_sync import RouteSync
from controller.clouds.ec2.notices.notice_queue import heard
from controller.clouds.protocol import Called, Cloud, LaunchOutcome, LaunchRequest, Login, Notice, PriceSource, Reserved
from controller.model.instance import Identity, Instance
from controller.model.names import InstanceId
from controller.model.offer import Offer

log = structlog.get_logger()
NoticeSource = Callable[[Ec2Settings, Calls], AsyncGenerator[Notice]]
"""Where notices come from; the room asks for one iterator per listener."""


class Ec2Cloud(Cloud):
    """See `controller.clouds.protocol.Cloud`. Made by `running`."""

    def __init__(  # each part is named where it is made
        self,
        settings: Ec2Settings,
        calls: Calls,
        found: Ec2Environment,
        verifier: identity_document.Verifier,
        tasks: asyncio.TaskGroup,
        notices: NoticeSource,
        asked: Ec2Settings,
    ) -> None:
        self._settings = settings
        self._verifier = verifier
        self._notices = notices
        self._where = CurrentEnvironment(found)
        self._naming = Tagging(calls, self._parts)
        self._listing = InstanceList(settings, calls, self._naming.add)
        self._launcher = Launcher(settings, calls, self._where, self._listing, self._naming, tasks)
        self._replacing = Replacing(asked, calls, self._where, self._launcher.templates.prepare)
        self._terminator = Terminator(settings, calls, tasks)
        self.calls = calls
        self.environment = found
        self.offers_sold = Offers(settings, found.zones.values())
        self.prices = PriceFeed(settings.region, found.zones.values(), calls, self.offers_sold)
        self.leftovers = LeftoverCollector(settings, calls, found, self._launcher.templates.in_use)
        self._routes = RouteSync(settings, found.vpc, calls)
        self._reservations = Reservations(calls, found)
        self._registries = EcrLogins(calls, home=settings.region)

    @property
    def name(self) -> str:
        """Short name."""
        return "ec2"

    @property
    def image(self) -> str:
        """The machine images of each architecture."""
        return ",".join(f"{name}={image}" for name, image in sorted(self._where.now.images.items()))

    async def offers(self) -> tuple[Offer, ...]:
        """Types in the zones of our subnets; from memory."""
        return self.offers_sold.current

    async def launch(self, request: LaunchRequest) -> LaunchOutcome:
        """Launch one instance, together with what others ask for within the same moment."""
        return await self._launcher.launch(request)

    async def instances(self) -> tuple[Instance, ...]:
        """Every instance with our cluster's tag, ended ones for as long as EC2 tells of them."""
        return await self._listing.all()

    async def terminate(self, instances: Sequence[InstanceId]) -> None:
        """Ask for their end, together with what others ask for within the same moment."""
        await self._terminator.terminate(instances)

    def verify(self, document: bytes, signature: bytes) -> Identity:
        """Check against AWS's certificates, our account and region."""
        return self._verifier.verify(document, signature)

    async def notices(self) -> AsyncGenerator[Notice]:
        """What AWS announces of the account's instances; only failed status checks where no queue is configured."""
        async for notice in self._notices(self._settings, self.calls):
            yield notice

    @property
    def price_sources(self) -> tuple[PriceSource, ...]:
        """Source and age of each part of the offers."""
        return self.prices.sources

    async def login(self, image: str) -> Login | None:
        """A token of ECR, for images that are there."""
        return await self._registries.login(image)

    def route(self, wanted: Mapping[InstanceId, tuple[str, ...]]) -> None:
        """Lead these networks to these instances, in the route tables of their subnets; soon."""
        self._routes.want(wanted)

    def tag(self, wanted: Mapping[InstanceId, Mapping[str, str]]) -> None:
        """Let these instances, their volumes and interfaces have these tags; at leisure."""
        for instance, tags in wanted.items():
            if lacking := self._listing.lacking(instance, {**tags, **self._settings.own_tags}):
                self._naming.add(instance, lacking)

    async def reserved(self, annotations: Mapping[str, str]) -> Reserved | None:
        """Type and zone of the capacity reservation that they name."""
        return await self._reservations.named(annotations)

    async def console(self, instance: InstanceId) -> str:
        """The newest of its serial console that EC2 has."""
        return await console.last_lines(self.calls, instance)

    def called(self) -> tuple[Called, ...]:
        """Calls of AWS by service, action and outcome; another region's service counts as the same."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for (service, action, outcome), count in self.calls.counts.items():
            counts[service.partition("@")[0], action, outcome] += count
        return tuple(
            Called(service=service, action=action, outcome=outcome, count=count, throttled=outcome in errors.THROTTLES)
            for (service, action, outcome), count in counts.items()
        )

    def _parts(self, instance: InstanceId) -> tuple[str, ...]:
        return self._listing.parts(instance)

    def close(self) -> None:
        """Give up what is on its way; the next life finds what came of it."""
        self._launcher.close()
        self._terminator.close()

    async def work(self) -> None:
        """What goes on as long as the cloud is open."""
        async with asyncio.TaskGroup() as tasks:
            if self._settings.fleets:
                tasks.create_task(self._launcher.templates.prepare())
            tasks.create_task(self._naming.work())
            tasks.create_task(self.leftovers.work())
            tasks.create_task(self.prices.work(self._settings.prices_after_seconds))
            tasks.create_task(self._routes.work())
            tasks.create_task(self._replacing.work(self._settings.images_seconds))


@asynccontextmanager
async def running(settings: Ec2Settings, notices: NoticeSource = heard) -> AsyncGenerator[Ec2Cloud]:
    """The cloud, open. Raises Fault for settings, rights or networks that keep it from launching."""
    keys = identity_document.keys_in(settings.certificates)
    async with door.running(settings) as calls:
        asked, settings = settings, await image_selection.resolved(settings, calls)
        found = await environment.find(settings, calls)
        log.info("machine images", **found.images)
        verifier = identity_document.Verifier(keys, found.account, settings.region)
        async with asyncio.TaskGroup() as tasks:
            cloud = Ec2Cloud(settings, calls, found, verifier, tasks, notices, asked)
            work = tasks.create_task(cloud.work())
            try:
                yield cloud
            finally:
                cloud.close()
                work.cancel()
