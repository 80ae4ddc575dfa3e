"""The agent's two lives: alone on a unix socket, or as a cell that dialled home. Alone in knowing every room."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.join import AGENT_VERSION, join_for_ever
from cellagent.boot.metadata_client import Metadata
from cellagent.images import room as images
from cellagent.images import routes
from cellagent.images.messages import RegistrySettings
from cellagent.images.shared import shared_layers
from cellagent.kernel import agent_locks, power
from cellagent.link import heartbeat
from cellagent.link.home import Homeless, stay
from cellagent.link.redialling import RedialWindow
from cellagent.link.reporting import CellEvents, Reporting
from cellagent.link.worker_connection import WorkerLink
from cellagent.runtime import room as runtime
from cellagent.runtime.cell_service import CellService
from cellagent.runtime.settings import RuntimeSettings
from cellwire import task_dump
from cellwire.faults import Fault, Kind
from cellwire.proxies import Proxies, merged, proxies_of
from cellwire.rpc.grpclib_patches import MendedServer
from cellwire.rpc.limits import CELL_SERVER
from cellwire.rpc.serve import prepared, serving

USER_DATA_AT = "CHINAMPA_USER_DATA_AT"
log = logging.getLogger(__name__)
# A controller that is to let a cell join comes back sooner, or never.
UNJOINED = 24 * 3600.0


async def serve(
    socket: Path,
    settings: RuntimeSettings,
    *,
    mirrors: Sequence[str] = (),
    pinned: Sequence[str] = (),
    certificates: Path | None = None,
) -> None:
    """CRI on a unix socket until SIGTERM or SIGINT. Containers live on.

    `certificates` has a folder for each registry (see images.routes); proxies are those of the environment.
    """
    image_settings = images.ImageSettings(
        root=settings.root / "images",
        registries=registries(mirrors, certificates),
        pinned=tuple(pinned),
        proxies=proxies_of(os.environ),
    )
    async with (
        agent_locks.sole(settings.root, settings.state),
        images.running(image_settings) as image_room,
        runtime.running(settings, image_room.store) as room,
        serving([room.service, image_room.service], socket),
        until_told() as told,
    ):
        log.info("serving CRI on %s", socket)
        await told.wait()


async def cell(root: Path, state: Path, *, power_off: bool = False) -> None:
    """Boot as a cell: join, then serve the controller on the connection that we dial, until SIGTERM.

    Containers live on, and a restarted agent finds them again. With `power_off` this machine ends where it was refused
    for good, or has no controller any more: nobody else would end it.
    """
    moments = {"agent": time.time()}
    if began := _user_data_at():
        moments["user-data"] = began
    # Before anything else: two that join would each replace the other's key.
    async with agent_locks.sole(root, state):
        identity = CellIdentity(root / "identity")
        home = identity.home()
        if home is None:
            home = await _joined(identity, power_off=power_off)
        moments["joined"] = time.time()
        await _at_home(identity, home, moments, RuntimeSettings(root=root, state=state), power_off=power_off)


async def _joined(identity: CellIdentity, *, power_off: bool) -> Home:
    try:
        async with asyncio.timeout(UNJOINED if power_off else None):
            return await join_for_ever(identity, Metadata())
    except TimeoutError:
        await power.off(f"no controller let it join within {UNJOINED / 3600:g} h")
        raise
    except Fault as fault:
        if power_off:
            await power.off(f"it was refused for good: {fault}")
        raise


async def _staying(
    server: MendedServer, identity: CellIdentity, home: Home, window: RedialWindow, *, power_off: bool
) -> None:
    while True:
        try:
            await stay(server, identity, home, lambda: None, window)
        except Homeless as end:
            if power_off:
                await power.off(str(end))


async def _at_home(
    identity: CellIdentity, home: Home, moments: dict[str, float], folders: RuntimeSettings, *, power_off: bool
) -> None:
    settings = home.cell_settings()
    way = settings.proxies
    told = Proxies(http=way.http, https=way.https, exempt=tuple(way.exempt))
    image_settings = images.ImageSettings(
        root=folders.root / "images",
        registries=tuple(
            RegistrySettings(
                host=one.host,
                mirrors=tuple(one.mirrors),
                plain_http=one.plain_http,
                ca=one.ca,
                certificate=one.certificate,
                key=one.key,
                mirror_logins=one.mirror_logins,
            )
            for one in settings.registries
        ),
        proxies=merged((told, proxies_of(os.environ))),
        shared=shared_layers(folders.root),
    )
    runtime_settings = msgspec.structs.replace(
        folders, pod_address=settings.pod_address, pod_address6=settings.pod_address6, vpc=home.vpc
    )
    events = CellEvents()
    async with (
        images.running(image_settings, events.pulling) as image_room,
        runtime.running(runtime_settings, image_room.store) as room,
        until_told() as told,
    ):
        interval = settings.heartbeat_interval_ms / 1000 or 5.0
        hello = partial(heartbeat.hello, home.cell, AGENT_VERSION, moments, room.oci_runtime)
        window = RedialWindow()
        reporting = Reporting(hello, interval, room.running_containers, events.queue, window)
        worker = WorkerLink(identity)
        cell_service = CellService(room, reporting.serve, worker.dial)
        server = prepared([room.service, image_room.service, cell_service], details=True, limits=CELL_SERVER)
        async with asyncio.TaskGroup() as tasks:
            staying = tasks.create_task(
                _staying(server, identity, home, window, power_off=power_off), name="stay at home"
            )
            beside = tasks.create_task(worker.stay(server), name="stay with the worker")
            await told.wait()
            staying.cancel()
            beside.cancel()


def registries(mirrors: Sequence[str], certificates: Path | None = None) -> tuple[RegistrySettings, ...]:
    """Settings of "host=url" pairs, several for one host tried in order, and of a folder of certificates."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in mirrors:
        host, mark, url = pair.partition("=")
        if not mark or not host or "://" not in url:
            raise Fault(Kind.INVALID, f"mirror {pair}", "it is not of the form host=url")
        found[host] = (*found.get(host, ()), url)
    tls = {each.host: each for each in routes.of_folder(certificates)} if certificates is not None else {}
    return tuple(
        msgspec.structs.replace(tls.get(host, RegistrySettings(host=host)), mirrors=found.get(host, ()))
        for host in dict.fromkeys((*found, *tls))
    )


@asynccontextmanager
async def until_told() -> AsyncGenerator[asyncio.Event]:
    """An event for the first SIGTERM or SIGINT; the second ends the process at once."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def first() -> None:
        told.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first)
    try:
        with task_dump.told_on_signal():
            yield told
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _user_data_at() -> float:
    """When this instance's user-data began to run, as the script that started us says: unix seconds, 0 for unknown."""
    try:
        return float(os.environ.get(USER_DATA_AT, "0"))
    except ValueError:
        return 0.0
