"""Serves the dashboard: its files to whoever asks, what they show to whom it may be shown."""

from __future__ import annotations

import asyncio
import importlib.resources
import time

from aiohttp import web

from controller.api.authorizing import WHO
from controller.api.dashboard.history import EVERY, SampleHistory, sample
from controller.api.dashboard.overview import DashboardInput, overview
from controller.api.requests import answer
from controller.fleet.cells import Telling
from controller.objects.kinds import EVENTS
from controller.objects.library import Library

ROOT = "/ui"
OVERVIEW = f"{ROOT}/overview"
_TYPES = {
    "index.html": "text/html",
    "style.css": "text/css",
    "app.js": "text/javascript",
    "charts.js": "text/javascript",
    "session.js": "text/javascript",
    "terminal.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
# Who is not known yet gets these, and nothing that they could show.
PATHS = frozenset({ROOT, f"{ROOT}/", *(f"{ROOT}/{name}" for name in _TYPES)})
_HEADERS = {
    # Nothing of anybody else's is loaded, run, embedded or sent anywhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Dashboard:
    """The dashboard: its present figures, and their history."""

    def __init__(self, library: Library, cells: Telling) -> None:
        self._library = library
        self._cells = cells
        self._history = SampleHistory()

    def route(self, router: web.UrlDispatcher) -> None:
        """Serve the files and the document."""
        router.add_get(OVERVIEW, self._overview)
        _route_files(router)

    async def keep(self) -> None:
        """Remember how it is, for ever."""
        while True:
            self._history.add(sample(self._cells.list(), time.time()))
            await asyncio.sleep(EVERY)

    async def _overview(self, request: web.Request) -> web.StreamResponse:
        seen = DashboardInput(
            cells=self._cells.list(),
            pods=self._library.objects("pods").list(),
            events=self._library.objects(EVENTS.key).list(),
            pool=self._cells.pool(),
            history=self._history,
        )
        return answer(overview(seen, request[WHO].namespace, time.time()))


def _route_files(router: web.UrlDispatcher) -> None:
    folder = importlib.resources.files("controller.api.dashboard") / "assets"
    for name, content_type in _TYPES.items():
        body = (folder / name).read_bytes()

        async def file(
            _request: web.Request, body: bytes = body, content_type: str = content_type
        ) -> web.StreamResponse:
            return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)

        router.add_get(f"{ROOT}/{name}", file)
        if name == "index.html":
            router.add_get(f"{ROOT}/", file)

    async def to_folder(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=308, headers={"Location": f"{ROOT.removeprefix('/')}/", **_HEADERS})

    router.add_get(ROOT, to_folder)
