"""The link to home: dials a controller, serves it on the turned connection, and redials for ever when that is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.join import SERVER_NAME, client_context, endpoint, renew
from cellagent.link.redialling import RedialWindow
from cellwire.faults import Fault
from cellwire.rpc.grpclib_patches import MendedServer
from cellwire.rpc.reverse import TURNED, serve_on

log = logging.getLogger(__name__)
# A connection that held for so long says that all is well again; one that is cut sooner may be cut each time.
HELD = 10.0
# After a failed renewal; certificates live for eight hours beyond the first try.
RENEW_AGAIN = 300.0
# A timer does not run while a machine is suspended: look at the clock now and then.
RENEW_LOOK = 600.0


class Homeless(Exception):
    """No controller was reached for so long that none will be."""


async def stay(
    server: MendedServer,
    identity: CellIdentity,
    home: Home,
    on_connected: Callable[[], None],
    window: RedialWindow,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Stay until no controller was reached for as long as the cell's settings say, then raise Homeless. Whatever the
    controller does until then, the containers run on. `window` is what reports heed.
    """
    patience = home.cell_settings().homeless_seconds
    renewing: asyncio.Task[None]
    async with asyncio.TaskGroup() as tasks:
        renewing = tasks.create_task(_renew(identity, home))
        tries, at_home = 0, clock()
        while not patience or clock() - at_home < patience:
            first = tries % len(home.controllers)
            addresses = (*home.controllers[first:], *home.controllers[:first])
            held, dialled = await at_one_of(
                addresses,
                window.head_start,
                lambda address, won: _visit(server, identity, address, home.cell, won),
                on_connected,
            )
            # The first redial is quick, for a controller that was restarted is back within a second.
            tries = 0 if held > HELD else tries + dialled
            if held > HELD:
                at_home = clock()
            await asyncio.sleep(window.pause(tries, len(home.controllers)))
        renewing.cancel()
    raise Homeless(f"no controller was reached for {patience / 3600:g} h")


async def at_one_of(
    addresses: Sequence[str],
    head_start: float,
    visit: Callable[[str, Callable[[], None]], Coroutine[Any, Any, float]],
    on_connected: Callable[[], None],
) -> tuple[float, int]:
    """Dial the first; while it neither takes the cell nor fails, the next beside it after each `head_start`: who waits
    at a door keeps its place. The first that takes it ends the other dials. The seconds that it held, and how many were
    dialled; where none is left that may take it, the rest are for the next time.
    """
    begun: list[asyncio.Task[float]] = []
    at_home = False

    def won(place: int) -> None:
        # It is told by the connection, not by the task that dialled it.
        nonlocal at_home
        if at_home:
            return  # another took the cell in the same moment, and this one's task was told to end
        at_home = True
        for task in (*begun[:place], *begun[place + 1 :]):
            task.cancel()
        on_connected()

    async with asyncio.TaskGroup() as tasks:
        for address in addresses:
            dial = visit(address, partial(won, len(begun)))
            begun.append(tasks.create_task(dial, name=f"dial {address}"))
            last = len(begun) == len(addresses)
            waiting = [task for task in begun if not task.done()]
            await asyncio.wait(waiting, timeout=None if last else head_start, return_when=asyncio.FIRST_COMPLETED)
            if at_home or all(task.done() for task in begun):
                break
            log.info("%s does not answer for now", address)
    return max((task.result() for task in begun if not task.cancelled()), default=0.0), len(begun)


async def _visit(
    server: MendedServer, identity: CellIdentity, address: str, cell: str, on_connected: Callable[[], None]
) -> float:
    """One connection, to its end; the seconds that it held.

    It holds from the first call on: TLS 1.3 tells of a certificate that it refuses only once this side is connected,
    and so does a controller that keeps the cell out.
    """
    connected_at = 0.0

    def taken() -> None:
        nonlocal connected_at
        connected_at = time.monotonic()
        log.info("connected to %s as %s", address, cell)
        on_connected()

    try:
        host, port = endpoint(address)
        await serve_on(server, host, port, client_context(identity, TURNED), SERVER_NAME, on_call=taken)
        log.info("the connection to %s has ended", address)
    except (Fault, OSError) as error:
        log.info("not connected: %s", error)
    return time.monotonic() - connected_at if connected_at else 0.0


async def _renew(identity: CellIdentity, home: Home) -> None:
    while True:
        await asyncio.sleep(min(max(home.renew_at - time.time(), 0), RENEW_LOOK))
        if home.renew_at > time.time():
            continue
        try:
            home = await renew(identity, home)
            log.info("the certificate was renewed")
        except Fault as fault:
            log.warning("the certificate was not renewed: %s", fault)
            await asyncio.sleep(RENEW_AGAIN)
