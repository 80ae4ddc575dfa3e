"""/livez, /readyz and /healthz, with what they looked at: `?verbose` lists it, `?exclude=` leaves some out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import web

from controller.api.routing import route

PATHS = ("/healthz", "/livez", "/readyz")
Check = Callable[[], bool]
"""Whether it is as it should be. Takes no time: it is asked every few seconds, by anybody."""


def route_all(router: web.UrlDispatcher, ready: Mapping[str, Check]) -> None:
    """The three, and each check by itself. Whoever answers lives; `ready` are the checks of who is ready, too."""
    alive: dict[str, Check] = {"ping": lambda: True}
    for path in PATHS:
        checks = alive if path == "/livez" else {**alive, **ready}
        route(router, "GET", path, partial(_answer, name=path[1:], checks=checks))
        for one, check in checks.items():
            route(router, "GET", f"{path}/{one}", partial(_answer, name=one, checks={one: check}))


async def _answer(request: web.Request, name: str, checks: Mapping[str, Check]) -> web.StreamResponse:
    left_out = set(request.query.getall("exclude", ()))
    found = {one: check() for one, check in checks.items() if one not in left_out}
    well = all(found.values())
    if well and "verbose" not in request.query:
        return web.Response(text="ok")
    lines = [f"[+]{one} ok" if fine else f"[-]{one} failed" for one, fine in found.items()]
    lines += [f"[+]{one} excluded: ok" for one in sorted(left_out & checks.keys())]
    lines += [f"{name} check {'passed' if well else 'failed'}", ""]
    return web.Response(text="\n".join(lines), status=200 if well else 500)
