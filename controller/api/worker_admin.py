"""The admin API of a worker's own shim: what it tells of itself over its admin socket, and to a Prometheus.

Prices, pools and what cells use are the central controller's to tell.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from controller.api import admin, measuring
from controller.api.process_metrics import ProcessMetrics, counter, gauge, of_ways
from controller.model.cell import CellState
from controller.remote.central import Central
from controller.remote.remote_cells import RemoteCells
from controller.sandboxes.ways import Ways


@asynccontextmanager
async def running(
    cells: RemoteCells, central: Central, ways: Ways, metrics: ProcessMetrics, folder: Path, facts: Mapping[str, Any]
) -> AsyncGenerator[None]:
    """Serve the socket in `folder`; `facts` are what `status` tells of this shim beside."""
    started = time.monotonic()
    metrics.registry.register(_WorkerCollector(cells, central, ways, str(facts["worker"])))

    async def listed(_: web.Request) -> web.Response:
        now = time.time()
        return web.json_response([admin.described(cell, now) for cell in cells.list()])

    async def status(_: web.Request) -> web.Response:
        told = {
            "up_seconds": round(time.monotonic() - started),
            "cells": dict(Counter(cell.state.value for cell in cells.list())),
            "controller": central.reach().address,
            "why": central.reach().why,
        }
        return web.json_response({**facts, **told})

    async def measured(request: web.Request) -> web.Response:
        return measuring.answer(request, metrics)

    routes = [web.get("/cells", listed), web.get("/status", status), web.get(measuring.PATH, measured)]
    async with admin.served(folder, routes):
        yield


class _WorkerCollector(Collector):
    """Reads off what others keep anyway."""

    def __init__(self, cells: RemoteCells, central: Central, ways: Ways, worker: str) -> None:
        self._cells = cells
        self._central = central
        self._ways = ways
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        yield gauge("worker_info", "Name of this worker; always 1.", ("worker",), {(self._worker,): 1})
        known = self._cells.list()
        states = Counter(cell.state for cell in known)
        counts = {(state.value,): states[state] for state in CellState if state is not CellState.GONE}
        yield gauge("cells", "Cells by state.", ("state",), counts)
        connected = sum(cell.connected for cell in known)
        yield gauge("cells_connected", "Cells whose connection stands.", (), {(): connected})
        reach = self._central.reach()
        reached = {(): float(bool(reach.address))}
        yield gauge("controller_connected", "Whether a controller that leads answers this worker.", (), reached)
        yield counter("controller_connections", "Connections to a controller.", (), {(): reach.connections})
        yield gauge(
            "releases_waiting",
            "Cells given back, of which no controller has heard.",
            (),
            {(): self._cells.releases_waiting()},
        )
        yield from of_ways(self._ways)
