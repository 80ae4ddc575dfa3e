"""The composition root: opens the rooms in order, closes them in reverse, and is the only file that knows them all."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import structlog
import uvloop

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from controller.api import admin
from controller.api import server as api
from controller.choice import demand
from controller.clouds.local import addresses
from controller.clouds.local import cloud as local_cloud
from controller.clouds.local.settings import LocalSettings
from controller.clouds.protocol import Cloud
from controller.config import Config
from controller.fleet import room as fleet_room
from controller.fleet.plan import Limits
from controller.link import port as link_port
from controller.logs.mirror import Mirror
from controller.pods import engine
from controller.shim import server as shim
from controller.store import sqlite

log = structlog.get_logger()
HERE = Path(__file__).resolve().parent.parent


def run(config: Config) -> None:
    """Run the controller until SIGTERM or SIGINT. A second signal exits at once. Raises Fault."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(config))
    except BaseExceptionGroup as group:
        raise _first_fault(group) or group from None


async def main(config: Config) -> None:
    """Open every room, wait for the signal, close every room."""
    stop = _signalled()
    state = Path(config.text("state"))
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as rooms:
        store = await rooms.enter_async_context(sqlite.running(state / "records.sqlite"))
        cloud = await _open_cloud(config, rooms)
        holder: list[fleet_room.Fleet] = []
        settings = _link_settings(config, state)
        link = await rooms.enter_async_context(link_port.running(settings, lambda: holder[0], cloud.verify))
        fleet = await rooms.enter_async_context(fleet_room.running(_fleet_settings(config), store, cloud, link))
        holder.append(fleet)
        pods = await rooms.enter_async_context(
            engine.running(fleet, store, Mirror(), logs=state / "pods", demand=demand.of_pod)
        )
        if config.text("shim.socket"):
            shim_settings = shim.ShimSettings(
                socket=Path(config.text("shim.socket")), folder=state / "shim", pods_folder=config.text("shim.pods")
            )
            await rooms.enter_async_context(shim.running(shim_settings, fleet, store, demand.of_sandbox))
        if config.number("api.port"):
            certificate, key = link.authority.server_files()
            api_settings = api.ApiSettings(
                folder=state,
                host=config.text("api.host"),
                port=config.number("api.port"),
                certificate=certificate,
                key=key,
                authority=link.authority.pem,
            )
            await rooms.enter_async_context(api.running(pods, fleet, api_settings))
        facts = {"cloud": cloud.name, "link": list(link.controllers), "pid": os.getpid()}
        await rooms.enter_async_context(admin.running(fleet, state, facts))
        log.info("ready", cloud=cloud.name, cells_dial=link.controllers)
        await stop.wait()
        log.info("stopping; pods run on")


def _signalled() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def heard(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(heard, number))
    return stop


async def _open_cloud(config: Config, rooms: AsyncExitStack) -> Cloud:
    kind = config.text("cloud.kind")
    if kind != "local":
        raise Fault(Kind.INVALID, f"cloud.kind {kind!r}", "there is no such cloud", 'use "local"')
    settings = LocalSettings(
        cluster=config.text("cluster"),
        root=Path(config.text("cloud.local.root")),
        bridge=config.text("cloud.local.bridge"),
        subnet=config.text("cloud.local.subnet"),
        masquerade=config.flag("cloud.local.masquerade"),
        memory_mib=config.number("cloud.local.memory_mib"),
        path=(str(Path(sys.executable).parent),),
        python_path=(str(HERE), str(HERE / "proto")),
        visible=(str(HERE), sys.prefix, sys.base_prefix),
    )
    return await rooms.enter_async_context(local_cloud.running(settings))


def _link_settings(config: Config, state: Path) -> link_port.LinkSettings:
    host = config.text("link.host")
    own = config.texts("link.addresses")
    if not own and host == "0.0.0.0":  # noqa: S104
        own = (str(addresses.gateway(config.text("cloud.local.subnet"))),)
    return link_port.LinkSettings(folder=state / "link", host=host, port=config.number("link.port"), addresses=own)


def _fleet_settings(config: Config) -> fleet_room.FleetSettings:
    registries = tuple(
        wire.Registry(
            host=table["host"], mirrors=table.get("mirrors", ()), plain_http=bool(table.get("plain_http", False))
        )
        for table in config.registries()
    )
    return fleet_room.FleetSettings(
        cluster=config.text("cluster"),
        registries=registries,
        heartbeat_seconds=config.seconds("fleet.heartbeat_seconds"),
        limits=Limits(boot=config.seconds("fleet.boot_seconds"), lease=config.seconds("fleet.lease_seconds")),
    )


def _first_fault(group: BaseExceptionGroup[BaseException]) -> Fault | None:
    for error in group.exceptions:
        found = _first_fault(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, Fault):
            return found
    return None
