"""The tasks that measure, and the port on which a Prometheus without credentials may scrape, where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api.process_metrics import ProcessMetrics
from controller.api.prometheus import Metrics, ScrapeSources
from controller.api.stages import Stages
from controller.fleet.cells import Telling

PATH = "/metrics"
LAG_EVERY = 0.5


@asynccontextmanager
async def running(metrics: Metrics, measured: ScrapeSources, host: str, port: int | None) -> AsyncGenerator[int | None]:
    """Measure, and serve plain HTTP on `port` unless that is None; yields the port. Raises Fault where it is taken."""
    metrics.measure(measured)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(_watch(metrics, measured.cells), name="stages of launches")
        try:
            async with of_process(metrics, host, port) as taken:
                yield taken
        finally:
            watching.cancel()


@asynccontextmanager
async def of_process(metrics: ProcessMetrics, host: str, port: int | None) -> AsyncGenerator[int | None]:
    """The same for any process of ours."""
    async with asyncio.TaskGroup() as tasks:
        lagging = tasks.create_task(_lag(metrics), name="lag of the event loop")
        try:
            if port is None:
                yield None
            else:
                async with _served(metrics, host, port) as taken:
                    yield taken
        finally:
            lagging.cancel()


def answer(request: web.Request, metrics: ProcessMetrics) -> web.Response:
    """All metrics, as the scraper wants them."""
    body, content_type = metrics.text(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


@asynccontextmanager
async def _served(metrics: ProcessMetrics, host: str, port: int) -> AsyncGenerator[int]:
    async def serve(request: web.Request) -> web.Response:
        return answer(request, metrics)

    app = web.Application()
    app.router.add_get(PATH, serve)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            thing = f"metrics at {host} port {port}"
            raise Fault(Kind.UNAVAILABLE, thing, str(error), "choose another metrics.host or metrics.port") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _watch(metrics: Metrics, cells: Telling) -> None:
    stages = Stages(cells.list())
    async for cell in cells.watch():
        metrics.changed(cell, stages)


async def _lag(metrics: ProcessMetrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_EVERY
        await asyncio.sleep(LAG_EVERY)
        metrics.lagged(loop.time() - due)
