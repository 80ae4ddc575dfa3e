"""The composition root: opens the rooms in order, closes them in reverse, and is the only file that knows them all."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog

from cellwire import task_dump
from cellwire.faults import Fault, Kind
from cellwire.proxies import Proxies, merged, proxies_of
from controller import process, shim_rooms
from controller.api import admin, audit, measuring, opening, restricted
from controller.api import server as api
from controller.api.all_kinds import WORKLOADS
from controller.api.authorization import Gate
from controller.api.grants import Grants
from controller.api.prometheus import Metrics, ScrapeSources
from controller.api.token_routes import Desk
from controller.api.worker_routes import WorkerDesk
from controller.central import lost_workers
from controller.central.enrolment_service import WorkerEnrolment
from controller.central.worker_registry import WorkerRegistry
from controller.central.worker_service import WorkerService
from controller.clouds.ec2 import ec2_cloud
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.machine_images import image_selection
from controller.clouds.local import addresses
from controller.clouds.local import cloud as local_cloud
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.protocol import Cloud, LoginOf
from controller.config import CloudKind, Settings
from controller.fleet import cost_ledger, registry_facts
from controller.fleet import room as fleet_room
from controller.fleet.adoption import Owner, needed
from controller.fleet.cells import Cells
from controller.fleet.fleet_settings import limits
from controller.fleet.pool.configured import classes
from controller.fleet.pool.configured import images as held
from controller.fleet.pool.keeper import PoolSettings
from controller.link import port as link_port
from controller.link.authority import Authority
from controller.objects import library as objects
from controller.objects import pod_demand, quotas
from controller.objects.kinds import STORED
from controller.objects.sealing import Sealing
from controller.objects.tokens import Tokens
from controller.pods import engine, registries
from controller.pods.delivery import ClusterIdentity
from controller.pods.pod_adoption import PodOwner
from controller.pods.prices import Prices
from controller.pods.surroundings import ImageLookup
from controller.process import Stop
from controller.sandboxes import warming as warm_images
from controller.sandboxes.carried import PURPOSE, Carrier
from controller.sandboxes.pulling import RegistryAccess
from controller.sandboxes.sandbox_adoption import SandboxOwner
from controller.sandboxes.ways import Ways
from controller.services import api_service, declared
from controller.services import cluster_ips as service_addresses
from controller.services import room as services_room
from controller.shim.room import PodLookups
from controller.shim.sandboxes import CLAIMED_BY
from controller.store import etcd, etcd_gateway, sqlite
from controller.store.record_store import Store
from controller.store.store_settings import StoreKind
from controller.store.timed import TimedStore
from controller.workloads import room as workloads

log = structlog.get_logger()
HERE = Path(__file__).resolve().parent.parent


def run(settings: Settings) -> None:
    """Run the controller until SIGTERM or SIGINT; a second signal exits at once. Raises Fault."""
    process.run(partial(main, settings), settings.state, settings.log_level, "controller")


async def main(settings: Settings) -> None:
    """Open every room, wait for the signal, close every room. Pods run on."""
    stop = Stop()
    state = settings.state
    metrics = Metrics()
    async with AsyncExitStack() as rooms:
        await rooms.enter_async_context(stop.opening())
        rooms.enter_context(task_dump.told_on_signal())
        store = TimedStore(await _open_store(settings, rooms, stop.told), metrics.wrote)
        cloud = await _open_cloud(settings, rooms)
        later = _Later()
        workers = WorkerRegistry(store, time.time)
        await workers.load()
        link = await rooms.enter_async_context(
            link_port.running(
                _link_settings(settings),
                later.now,
                cloud.verify,
                partial(_for_workers, workers, later, store, cloud.login),
            )
        )
        of_pod = partial(pod_demand.of_pod, overhead=shim_rooms.overhead_of(settings))
        ways = Ways(
            Carrier(link.authority.secret(PURPOSE)),
            log_bytes=settings.api.log_mib << 20,
            log_grace=settings.fleet.log_grace,
        )
        owners: list[Owner] = [PodOwner(store, ways.carrier, time.time)]
        if settings.shim.socket is not None:
            owners.append(SandboxOwner(store, ways.carrier, CLAIMED_BY))
        async with _answering(settings, link, store):
            fleet = await rooms.enter_async_context(
                fleet_room.running(_fleet_settings(settings), store, cloud, link, owners=owners)
            )
        later.fleet = fleet
        books = await rooms.enter_async_context(cost_ledger.running(store, fleet, cloud))
        images = await _open_registries(settings, rooms, cloud)
        sealing = Sealing(link.authority.secret("objects"))
        library = await rooms.enter_async_context(objects.running(store, sealing, (*STORED, *WORKLOADS), time.time))
        pods = await rooms.enter_async_context(
            engine.running(
                fleet,
                library,
                _identity(settings, link),
                ways,
                folder=state / "pods",
                demand_of=of_pod,
                images=images,
            )
        )
        quotas.bound(library, settings.api.most_objects)
        await rooms.enter_async_context(quotas.running(library, Prices(fleet, of_pod).now))
        await rooms.enter_async_context(workloads.running(library, pods.teller))
        await rooms.enter_async_context(
            lost_workers.running(fleet, workers, settings.fleet.worker_lease, time.monotonic)
        )
        desk = WorkerDesk(workers, fleet, partial(_dialled, link))
        routes = *admin.cost_routes(books), *desk.routes()
        told = await _open_services(settings, rooms, library, fleet)
        await shim_rooms.open_shim(settings, rooms, fleet, store, ways, images.access, told)
        if settings.api.enabled:
            gate = await _open_gate(settings, rooms, store, books.spent)
            served = await rooms.enter_async_context(
                api.running(library, pods, fleet, _api_settings(settings, link), gate, metrics)
            )
            routes = *routes, *Desk(gate.grants, library, gate.audit, served.cluster).routes()
        measured = ScrapeSources(fleet, cloud, lambda: fleet.pace().heartbeat, ways, _own_version(), link.untrue)
        await rooms.enter_async_context(
            measuring.running(metrics, measured, settings.metrics.host, settings.metrics.port)
        )
        told = {"cloud": cloud.name, "link": list(link.controllers), "pid": os.getpid()}
        warming = await rooms.enter_async_context(
            warm_images.running(fleet, held(settings.standby), replace(images.access, digest=None), early={CLAIMED_BY})
        )
        await rooms.enter_async_context(
            admin.running(
                fleet, state, lambda: {**told, "unwritten": store.fault}, cloud, metrics, warming.held, routes
            )
        )
        log.info("ready", cloud=cloud.name, cells_dial=link.controllers)
        await stop.wait()
        log.info("stopping; pods run on")


class _Later:
    """The link is open before the fleet is: who dials in between is told to dial again."""

    def __init__(self) -> None:
        self.fleet: fleet_room.Fleet | None = None

    def now(self) -> fleet_room.Fleet:
        if self.fleet is None:
            raise Fault(Kind.UNAVAILABLE, "join", "the controller is starting", "ask again")
        return self.fleet


def _for_workers(
    workers: WorkerRegistry,
    later: _Later,
    store: Store,
    login: LoginOf,
    authority: Authority,
    refused: Counter[str],
) -> tuple[WorkerEnrolment, WorkerService]:
    """What workers ask on the link: as strangers, and as those that have joined."""
    service = WorkerService(workers, later.now, store.check_lead, login)
    return WorkerEnrolment(authority, workers, refused), service


def _dialled(link: link_port.Link) -> dict[str, Any]:
    """What a worker must know to join."""
    return {"controllers": link.controllers, "fingerprint": link.authority.fingerprint}


@asynccontextmanager
async def _answering(settings: Settings, link: link_port.Link, store: Store) -> AsyncGenerator[None]:
    """Have kubectl told why it is not served, where cells may have to be taken back first."""
    if settings.api.enabled and await needed(store):
        async with opening.answering(_api_settings(settings, link)):
            yield
    else:
        yield


async def _open_store(settings: Settings, rooms: AsyncExitStack, stop: asyncio.Event) -> Store:
    wanted = settings.store
    if wanted.kind is StoreKind.SQLITE:
        return await rooms.enter_async_context(sqlite.running(settings.state / "records.sqlite"))
    there = etcd_gateway.EtcdSettings(
        endpoints=wanted.endpoints,
        prefix=f"/chinampa/{settings.cluster}",
        ca=wanted.ca,
        certificate=wanted.certificate,
        key=wanted.key,
        lease=wanted.lease,
    )
    return await rooms.enter_async_context(etcd.running(there, stop.is_set))


async def _open_registries(settings: Settings, rooms: AsyncExitStack, cloud: Cloud) -> ImageLookup:
    """What pods are told of images, and how registries are asked."""
    access = RegistryAccess(cloud.login, share=cloud.share)
    images = ImageLookup(access=access, patience=settings.api.image_patience)
    if not settings.api.ask_registries:
        return images
    shown = {each.host for each in settings.registries if each.mirror_logins}
    asking = await rooms.enter_async_context(
        registries.asking(_bases(settings), cloud.login, _tls(settings), _proxies(settings), shown)
    )
    return replace(images, architectures=asking.architectures, access=replace(access, digest=asking.digest))


async def _open_cloud(settings: Settings, rooms: AsyncExitStack) -> Cloud:
    if settings.cloud.kind is CloudKind.EC2:
        check_ec2(settings)
        return await rooms.enter_async_context(ec2_cloud.running(Ec2Settings.of(settings.cloud.ec2, settings.cluster)))
    # Instances run the agent of this very installation.
    local = LocalSettings.of(
        settings.cloud.local,
        settings.cluster,
        settings.state,
        path=(str(Path(sys.executable).parent),),
        python_path=(str(HERE), str(HERE / "proto")),
        needed=(str(HERE), sys.prefix, sys.base_prefix),
    )
    local = msgspec.structs.replace(
        local, registries=registry_facts.facts(settings.registries), proxies=_proxies(settings)
    )
    return await rooms.enter_async_context(local_cloud.running(local))


def check_ec2(settings: Settings) -> None:
    """What of the settings would keep every instance from joining. Raises Fault INVALID."""
    ec2, link = settings.cloud.ec2, settings.link
    for architecture, image in (("amd64", ec2.image_amd64), ("arm64", ec2.image_arm64)):
        setting = f"cloud.ec2.image_{architecture}"
        if image_selection.stock_images(setting, image) is not None and architecture not in link.agents:
            mend = f"pack one with `make bundle` and name it with link.agent_{architecture}"
            raise Fault(Kind.INVALID, f"{setting} {image}", "there is no agent for it", mend)
    if not link.addresses and link.host in {"0.0.0.0", "::"}:  # noqa: S104 # compared, not bound
        cause = "it is empty: cells would not know whom to dial"
        raise Fault(Kind.INVALID, "link.addresses", cause, 'name the controller\'s address, as ["10.0.0.10:7443"]')


async def _open_services(
    settings: Settings, rooms: AsyncExitStack, library: objects.Library, fleet: Cells
) -> PodLookups:
    """Services for cells: those of the cluster, or those declared here; and what is told of a kubelet's pods."""
    if settings.kubernetes.kubeconfig is not None:
        return await shim_rooms.open_cluster(settings, rooms, fleet)
    services = await rooms.enter_async_context(services_room.running(settings.services, fleet, "", clustered=False))
    ranges = service_addresses.ranges(settings.services.addresses, settings.services.addresses6)
    await rooms.enter_async_context(declared.running(library, services.book, ranges, services.listed.set))
    await rooms.enter_async_context(api_service.running(library, settings.api.pods_address, settings.api.port))
    return shim_rooms.sized_by_limits(settings)


def _link_settings(settings: Settings) -> link_port.LinkSettings:
    link = settings.link
    own = link.addresses
    if not own and link.host == "0.0.0.0" and settings.cloud.kind is CloudKind.LOCAL:  # noqa: S104
        own = (str(addresses.gateway(settings.cloud.local.subnet)),)
    return link_port.LinkSettings(
        folder=settings.state / "link", host=link.host, port=link.port, addresses=own, agents=link.agents
    )


def _fleet_settings(settings: Settings) -> fleet_room.FleetSettings:
    fleet = settings.fleet
    return fleet_room.FleetSettings(
        cluster=settings.cluster,
        limits=limits(fleet),
        survey=fleet.survey,
        heartbeat=fleet.heartbeat,
        homeless=fleet.homeless * 3600,
        standby=PoolSettings(
            classes=classes(settings.standby, settings.overhead),
            max_usd_hour=fleet.standby_max_usd_hour,
            max_waste=fleet.standby_max_waste,
        ),
        # On EC2 the agent is in the machine image, which tells its version.
        agent_version=_own_version() if settings.cloud.kind is CloudKind.LOCAL else "",
        registries=registry_facts.facts(settings.registries),
        proxies=registry_facts.proxies(settings.proxy),
    )


def _bases(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Where to ask for the images of each registry that the settings name: at its mirrors, then at itself."""
    return {each.host: each.bases for each in settings.registries}


def _tls(settings: Settings) -> dict[str, ssl.SSLContext]:
    """TLS with each host of a registry, for those whose settings say more than the machine's own."""
    own = [(each, registry_facts.context(each)) for each in settings.registries if each.ca or each.certificate]
    return {urlsplit(base).netloc: context for each, context in own for base in each.bases}


def _proxies(settings: Settings) -> Proxies:
    """The way to registries: that of the settings, else that of this process's environment."""
    return merged((registry_facts.proxies(settings.proxy), proxies_of(os.environ)))


def _own_version() -> str:
    """Of this installation, whose agent the instances run; "" where it runs from its sources."""
    try:
        return version("chinampa")
    except PackageNotFoundError:
        return ""


def _identity(settings: Settings, link: link_port.Link) -> ClusterIdentity:
    """How pods know this API, and are known to it."""
    tokens = Tokens(link.authority.secret("tokens"), time.time)
    return ClusterIdentity(
        tokens,
        link.authority.pem.decode(),
        settings.api.pods_address,
        settings.api.port,
        domain=settings.services.domain,
    )


async def _open_gate(settings: Settings, rooms: AsyncExitStack, store: Store, spent: Callable[[str], float]) -> Gate:
    """Authorization at the pods API, and the notes of who did what."""
    grants = Grants(store, time.time)
    await grants.load()
    own = settings.api
    path = settings.state / "audit.log" if own.audit else None
    notes = audit.running(path, time.time, reads=own.audit_reads, largest=own.audit_mib << 20)
    allowed = {
        "cloud-route": own.others_cloud_route,
        "security-groups": own.others_security_groups,
        "instance-profile": own.others_instance_profile,
        "capacity-reservation": own.others_capacity_reservation,
        "public-address": (restricted.ANY,) if own.others_public_address else (),
        "metadata": (restricted.ANY,) if own.others_metadata else (),
    }
    return Gate(grants, await rooms.enter_async_context(notes), allowed, spent)


def _api_settings(settings: Settings, link: link_port.Link) -> api.ApiSettings:
    return api.ApiSettings(
        folder=settings.state,
        host=settings.api.host,
        port=settings.api.port,
        names=settings.api.names,
        pods_address=settings.api.pods_address,
        certify=partial(link.authority.certify, "api"),
        renew_after=link_port.RENEW_SERVER_AFTER,
        authority=link.authority.pem,
        heartbeat=settings.fleet.heartbeat,
    )
