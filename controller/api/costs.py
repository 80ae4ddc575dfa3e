"""What cells have cost, for the command line."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from controller.fleet.cost_ledger import Ledger, rows


def routes(ledger: Ledger) -> Sequence[web.RouteDef]:
    """For the admin socket."""

    async def costs(request: web.Request) -> web.StreamResponse:
        found = await ledger.since(float(request.query["since"]))
        return web.json_response(rows(found, request.query["by"].split(",")))

    return (web.get("/costs", costs),)
