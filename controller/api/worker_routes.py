"""Workers for the command line: tokens for new ones, who they are, and their end, over the admin socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from cellwire import strangers_json
from cellwire.faults import Fault, Kind
from controller.api.token_routes import told
from controller.central import lost_workers
from controller.central.worker_registry import WorkerRegistry
from controller.fleet.cells import Cells

log = structlog.get_logger()


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token that is asked for."""

    name: str
    seconds: Annotated[float, Meta(gt=0)]


class WorkerDesk:
    """Makes tokens, and ends workers with what they have claimed. `facts` are what a new worker needs beside."""

    def __init__(self, registry: WorkerRegistry, cells: Cells, facts: Callable[[], dict[str, Any]]) -> None:
        self._registry = registry
        self._cells = cells
        self._facts = facts

    def routes(self) -> Sequence[web.RouteDef]:
        """For the admin socket."""
        return (
            web.get("/workers", told(self._list)),
            web.post("/workers", told(self._issue)),
            web.delete("/workers/{name}", told(self._revoke)),
        )

    async def _list(self, _request: web.Request) -> web.StreamResponse:
        held = [cell.claim.worker for cell in self._cells.list() if cell.claim is not None]
        return web.json_response(
            [
                {
                    "name": one.name,
                    "joined_at": one.joined_at,
                    "heard_at": self._registry.heard_at(one.name) if one.joined_at else 0.0,
                    "token_until": 0.0 if one.token_key else one.token_until,
                    "cells": held.count(one.name),
                }
                for one in self._registry.list()
            ]
        )

    async def _issue(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = strangers_json.decode(await request.read(), Wanted)
        except msgspec.DecodeError as error:
            raise Fault(Kind.INVALID, "the request for a worker's token", str(error)) from error
        token = await self._registry.issue(wanted.name, wanted.seconds)
        log.info("a token for a worker was made", worker=wanted.name, seconds=wanted.seconds)
        return web.json_response({"token": token, **self._facts()})

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        await self._registry.revoke(name)
        ended = await lost_workers.retire(self._cells, name, f"its worker {name} was revoked")
        log.info("a worker was revoked", worker=name, cells=ended)
        return web.json_response({"name": name, "cells": ended})
