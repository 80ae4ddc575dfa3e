"""A worker's shim as a process of its own: the kubelet's socket here, a central controller behind it."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from functools import partial

import structlog

from cellwire import task_dump
from cellwire.faults import Fault, Kind
from controller import process, shim_rooms
from controller.api import measuring, worker_admin
from controller.api.process_metrics import ProcessMetrics
from controller.config import Settings
from controller.process import Stop
from controller.remote import enrolment
from controller.remote import room as remote
from controller.remote.central import Central
from controller.remote.worker_identity import WorkerIdentity
from controller.sandboxes.carried import Carrier
from controller.sandboxes.pulling import RegistryAccess
from controller.sandboxes.ways import Ways
from controller.store import sqlite
from controller.store.timed import TimedStore

log = structlog.get_logger()


def run(settings: Settings, token: str) -> None:
    """Run the shim until SIGTERM or SIGINT; a second signal exits at once. Raises Fault."""
    if not settings.remote.controllers:
        mend = "name each with --controller host:port, or in remote.controllers"
        raise Fault(Kind.INVALID, "chinampa shim", "no controller is named", mend)
    if settings.shim.socket is None:
        mend = "name the socket on which the kubelet is served"
        raise Fault(Kind.INVALID, "chinampa shim", "shim.socket is not set", mend)
    process.run(partial(main, settings, token), settings.state, settings.log_level, "shim")


async def main(settings: Settings, token: str) -> None:
    """Join if need be, open every room, wait for the signal, close every room. Pods run on."""
    stop = Stop()
    own = settings.remote
    async with AsyncExitStack() as rooms:
        await rooms.enter_async_context(stop.opening())
        rooms.enter_context(task_dump.told_on_signal())
        identity = WorkerIdentity(settings.state / "worker")
        joined = await enrolment.joined(identity, own.controllers, own.fingerprint, token, stop.told.is_set)
        metrics = ProcessMetrics()
        records = await rooms.enter_async_context(sqlite.running(settings.state / "records.sqlite"))
        store = TimedStore(records, metrics.wrote)
        central = Central(identity, own.controllers)
        cells = await rooms.enter_async_context(remote.running(own, identity, joined, central, store))
        clustered = settings.kubernetes.kubeconfig is not None
        asked = (
            await shim_rooms.open_cluster(settings, rooms, cells) if clustered else shim_rooms.sized_by_limits(settings)
        )
        ways = Ways(Carrier(joined.carried_key), log_grace=settings.fleet.log_grace)
        await shim_rooms.open_shim(settings, rooms, cells, store, ways, RegistryAccess(central.login), asked)
        await rooms.enter_async_context(measuring.of_process(metrics, settings.metrics.host, settings.metrics.port))
        facts = {"worker": joined.worker, "controllers": list(own.controllers), "pid": os.getpid()}
        await rooms.enter_async_context(worker_admin.running(cells, central, ways, metrics, settings.state, facts))
        log.info("ready", worker=joined.worker, controllers=own.controllers)
        await stop.wait()
        log.info("stopping; pods run on")
