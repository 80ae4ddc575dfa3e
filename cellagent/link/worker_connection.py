"""The link to a worker, beside home: dials the shim that claimed this cell, and serves it as the controller is served.

Which one that is, the controller says; it is kept on disk, so that an agent that is started again dials at once.
"""

from __future__ import annotations

import asyncio
import logging
import time

from cellagent.boot.identity import CellIdentity
from cellagent.boot.join import client_context, pause
from cellagent.link.home import HELD
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault
from cellwire.rpc.grpclib_patches import MendedServer
from cellwire.rpc.pinned import endpoint
from cellwire.rpc.reverse import TURNED, serve_on

log = logging.getLogger(__name__)
# A worker has some hundred cells, not ten thousand: they may be back sooner, some seconds after it is.
MOST_DOUBLINGS = 4


class WorkerLink:
    """The connection to the worker, if there is one to have."""

    def __init__(self, identity: CellIdentity) -> None:
        self._identity = identity
        self._wanted = identity.worker()
        self._changed = asyncio.Event()

    def dial(self, worker: wire.DialWorkerRequest) -> None:
        """From now on this worker is dialled, at these addresses."""
        if worker != self._wanted:
            self._identity.keep_worker(worker)
            self._wanted = worker
            self._changed.set()

    async def stay(self, server: MendedServer) -> None:
        """Dial for ever, once it is said whom, and whenever the connection is lost; another at once."""
        while True:
            self._changed.clear()
            if self._wanted is None:
                await self._changed.wait()
                continue
            async with asyncio.TaskGroup() as tasks:
                staying = tasks.create_task(
                    self._stay_with(server, self._wanted), name=f"stay with {self._wanted.name}"
                )
                await self._changed.wait()
                staying.cancel()

    async def _stay_with(self, server: MendedServer, worker: wire.DialWorkerRequest) -> None:
        tries = 0
        while True:
            address = worker.addresses[tries % len(worker.addresses)]
            held = await self._visit(server, worker.name, address)
            tries = 0 if held > HELD else tries + 1
            await asyncio.sleep(pause(min(tries, MOST_DOUBLINGS)))

    async def _visit(self, server: MendedServer, name: str, address: str) -> float:
        """One connection, to its end; the seconds that it held."""
        connected_at = 0.0

        def connected() -> None:
            nonlocal connected_at
            connected_at = time.monotonic()
            log.info("connected to the worker %s at %s", name, address)

        try:
            host, port = endpoint(address)
            await serve_on(server, host, port, client_context(self._identity, TURNED), name, connected)
            log.info("the connection to the worker %s has ended", name)
        except Fault as fault:
            log.info("not connected: %s", fault)
        return time.monotonic() - connected_at if connected_at else 0.0
