"""Admin API: what the command line asks of a running controller, over a unix socket that only its owner may open."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api import measuring
from controller.api.priced import sheet
from controller.api.prometheus import Metrics
from controller.choice.unavailable import Key
from controller.clouds.protocol import Cloud
from controller.fleet.cells import Telling
from controller.fleet.cost_ledger import Ledger, rows
from controller.fleet.pool.keeper import Figures
from controller.fleet.reports import Vitals
from controller.model import cost
from controller.model.cell import Cell
from controller.model.offer import Offer
from controller.sandboxes.warming import ImageCoverage

SOCKET = "admin.sock"
# The kernel keeps no longer names of sockets (sockaddr_un).
LONGEST_SOCKET = 107
# Stage of a cell's life: from which moment to which, in seconds of the controller's and the cell's clock alike.
STAGES = {
    "launch": ("launching", "user-data"),
    "boot and join": ("user-data", "joined"),
    "connect": ("joined", "connected"),
    "claim": ("connected", "claimed"),
}


def described(cell: Cell, now: float, vitals: Vitals | None = None) -> dict[str, Any]:
    """A cell for a person, as JSON."""
    claim = cell.claim
    return {
        "name": str(cell.name),
        "state": cell.state.value,
        "connected": cell.connected,
        "pod": f"{claim.pod.namespace}/{claim.pod.name}" if claim else "",
        "worker": claim.worker if claim else "",
        "type": cell.offer.shape.type if cell.offer else "",
        "launch_type": cell.offer.launch_type.value if cell.offer else "",
        "zone": cell.offer.zone if cell.offer else "",
        "usd_per_hour": cost.usd_per_hour(cell),
        "usd_so_far": round(cost.usd_so_far(cell, now), 8),
        "instance": str(cell.instance or ""),
        "address": cell.address,
        "pod_address": cell.pod_address,
        "age_seconds": round(now - cell.created_at, 3),
        "reason": cell.reason,
        "announced": msgspec.to_builtins(cell.announced),
        "vitals": msgspec.to_builtins(vitals),
        "stages": {
            name: round(cell.moments[end] - cell.moments[begin], 3)
            for name, (begin, end) in STAGES.items()
            if begin in cell.moments and end in cell.moments
        },
    }


class OfferSheet(msgspec.Struct, frozen=True):
    """All that can be bought, and which of it (type, zone, launch type) the cloud refused of late, until when."""

    offers: tuple[Offer, ...]
    refused: tuple[tuple[Key, float], ...]


def summary(known: Sequence[Cell], pool: Sequence[Figures], now: float) -> dict[str, Any]:
    """How many cells there are in each state, what all cost, and how the pool is."""
    return {
        "cells": dict(Counter(cell.state.value for cell in known)),
        "usd_per_hour": round(sum(map(cost.usd_per_hour, known)), 6),
        "usd_so_far": round(sum(cost.usd_so_far(cell, now) for cell in known), 6),
        "pool": [msgspec.to_builtins(each) for each in pool],
    }


@asynccontextmanager
async def running(
    cells: Telling,
    folder: Path,
    facts: Callable[[], dict[str, Any]],
    cloud: Cloud,
    metrics: Metrics,
    held: Callable[[], Sequence[ImageCoverage]],
    routes: Sequence[web.RouteDef] = (),
) -> AsyncGenerator[None]:
    """Serve the socket in `folder`; `facts` tells what `status` tells of this controller, `cloud` is asked for prices,
    `held` for the images on warm cells; `routes` are others' beside.
    """
    started = time.monotonic()

    async def listed(_: web.Request) -> web.Response:
        now = time.time()
        return web.json_response([described(cell, now, cells.vitals(cell.name)) for cell in cells.list()])

    async def status(_: web.Request) -> web.Response:
        told = summary(cells.list(), cells.pool(), time.time())
        images = [msgspec.to_builtins(each) for each in held()]
        return web.json_response({**facts(), "up_seconds": round(time.monotonic() - started), **told, "images": images})

    async def prices(_: web.Request) -> web.Response:
        return web.json_response(sheet(await cloud.offers(), cloud.price_sources, time.time()))

    async def offers(_: web.Request) -> web.Response:
        told = OfferSheet(offers=await cloud.offers(), refused=cells.unavailable().refused(time.time()))
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")

    async def measured(request: web.Request) -> web.Response:
        return measuring.answer(request, metrics)

    asked = [
        web.get("/cells", listed),
        web.get("/status", status),
        web.get("/prices", prices),
        web.get("/offers", offers),
        web.get(measuring.PATH, measured),
    ]
    async with served(folder, [*asked, *routes]):
        yield


@asynccontextmanager
async def served(folder: Path, routes: Sequence[web.RouteDef]) -> AsyncGenerator[None]:
    """Serve these over the socket in `folder`. Raises Fault INVALID where its path is too long."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    path = folder / SOCKET
    path.unlink(missing_ok=True)
    try:
        try:
            await web.UnixSite(runner, str(path)).start()
        except OSError as error:
            mend = "choose a state folder with a shorter path" if len(str(path)) > LONGEST_SOCKET else ""
            raise Fault(Kind.INVALID, f"admin socket {path}", str(error), mend) from error
        path.chmod(0o600)
        yield
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)


def cost_routes(ledger: Ledger) -> Sequence[web.RouteDef]:
    """What cells have cost, for the command line."""

    async def costs(request: web.Request) -> web.StreamResponse:
        found = await ledger.since(float(request.query["since"]))
        return web.json_response(rows(found, request.query["by"].split(",")))

    return (web.get("/costs", costs),)
