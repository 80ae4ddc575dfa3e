"""What kubectl is told while the controller opens and cannot serve it yet: one Status, at once, instead of a refused
connection or none of an answer for a minute. It asks nobody who they are, and says nothing of pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from controller.api.certificates import Certified
from controller.api.requests import answer
from controller.api.settings import ApiSettings
from controller.api.statuses import failure

_WHY = (
    "the controller is starting: it takes back the cells that run, whose records were lost, and answers when those"
    " have dialled; ask again in a minute"
)


@asynccontextmanager
async def answering(settings: ApiSettings) -> AsyncGenerator[None]:
    """Answer everybody so at the API's port until left. A port that cannot be had is the API's own fault to tell."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _starting)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.0)
    await runner.setup()
    certified = Certified(settings)
    await asyncio.to_thread(certified.renew)
    try:
        if settings.port:
            with suppress(OSError):
                await web.TCPSite(runner, settings.host, settings.port, ssl_context=certified.context).start()
        yield
    finally:
        await runner.cleanup()


async def _starting(_request: web.Request) -> web.StreamResponse:
    # Without Retry-After: client-go would ask ten times before it shows the words to anybody.
    return answer(failure(503, "ServiceUnavailable", _WHY), 503)
