"""The room: the cells of this worker, the port that they dial, and the way to the controller that leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import structlog

from controller.remote import enrolment, worker_port
from controller.remote.central import Central
from controller.remote.remote_cells import RemoteCells
from controller.remote.settings import Remote
from controller.remote.worker_identity import WorkerCredentials, WorkerIdentity
from controller.store.record_store import Store

log = structlog.get_logger()


@asynccontextmanager
async def running(
    settings: Remote, identity: WorkerIdentity, joined: WorkerCredentials, central: Central, store: Store
) -> AsyncGenerator[RemoteCells]:
    """The room, open for as long as the context lives; cells outlive it."""
    context = identity.answering(worker_port.PROTOCOLS)
    # What is being written down outlives the work.
    async with asyncio.TaskGroup() as writing:
        cells = RemoteCells(store, writing, central)
        await cells.load()
        async with (
            worker_port.opened(cells.port, settings.host, settings.port, context) as number,
            asyncio.TaskGroup() as tasks,
        ):
            addresses = tuple(f"{host}:{number}" for host in settings.addresses or (settings.host,))
            cells.reached_at = addresses
            renewed = partial(identity.show, context)
            work = [
                tasks.create_task(central.stay(addresses, cells), name="the controller"),
                tasks.create_task(cells.release_often(), name="releases"),
                tasks.create_task(
                    enrolment.renew_often(identity, joined, settings.controllers, renewed), name="renewals"
                ),
            ]
            log.info("cells dial", addresses=addresses)
            try:
                yield cells
            finally:
                for task in work:
                    task.cancel()
