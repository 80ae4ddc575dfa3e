"""Stays at home: dials a controller, serves it on the turned connection, and redials for ever when that is lost."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from grpclib.server import Server

from cellagent.boot.identity import Home, Identity
from cellagent.boot.join import SERVER_NAME, client_context, renew
from cellwire.faults import Fault
from cellwire.rpc.turned import TURNED, serve_dialled

log = logging.getLogger(__name__)
SHORTEST = 0.2
LONGEST = 30.0
# After a failed renewal; certificates live for eight hours beyond the first try.
RENEW_AGAIN = 300.0


def pause(tries: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds before the next try: exponential, with full jitter, so that a thousand cells do not dial at once."""
    return chance() * min(LONGEST, SHORTEST * 2.0 ** min(tries, 16)) + 0.05


async def stay(server: Server, identity: Identity, home: Home, on_connected: Callable[[], None]) -> None:
    """Never returns. Whatever the controller does, the containers run on."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_renew(identity, home))
        tries = 0
        while True:
            address = home.controllers[tries % len(home.controllers)]
            host, _, port = address.rpartition(":")
            try:
                async with asyncio.timeout(15):
                    context = client_context(identity, TURNED)
                    lost = await serve_dialled(server, host, int(port), context, SERVER_NAME)
                log.info("connected to %s as %s", address, home.cell)
                connected_at = time.monotonic()
                on_connected()
                await lost.wait()
                log.info("the connection to %s was lost", address)
                # A connection that held for a while says that all is well again.
                tries = 0 if time.monotonic() - connected_at > SHORTEST else tries + 1
            except (OSError, TimeoutError) as error:
                tries += 1
                log.info("controller %s is out of reach: %s", address, error or "no answer in time")
            await asyncio.sleep(pause(tries))


async def _renew(identity: Identity, home: Home) -> None:
    while True:
        await asyncio.sleep(max(home.renew_at - time.time(), 0))
        try:
            home = await renew(identity, home)
        except Fault as fault:
            log.warning("the certificate was not renewed: %s", fault)
            await asyncio.sleep(RENEW_AGAIN)
