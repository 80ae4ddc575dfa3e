"""GET pods/log: from the controller's own copy of a container's log, which goes on when the cell is gone."""

from __future__ import annotations

import contextlib
import math
import time

from aiohttp import web

from controller.api.requests import flag, number
from controller.logs import reading
from controller.logs.lines import LinesWanted, nanoseconds
from controller.objects.fields import bad_request
from controller.pods.engine import Pods

# A container that has ended says no more: the rest of its log is on its way here, but where its cell or a disk is away.
LAST_BYTES_SECONDS = 15.0


async def log(request: web.Request, pods: Pods) -> web.StreamResponse:
    """Serve a container's log."""
    pod = pods.find(request.match_info["namespace"], request.match_info["name"])
    copied = pods.log_file(pod, request.query.get("container", ""), previous=flag(request, "previous"))
    wanted = LinesWanted(
        since=_since(request), timestamps=flag(request, "timestamps"), limit_bytes=number(request, "limitBytes")
    )
    if wanted.limit_bytes == 0:
        raise bad_request("limitBytes must be greater than 0")
    tail, follow = number(request, "tailLines"), flag(request, "follow")
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    until = math.inf if follow or not copied.ended else time.monotonic() + LAST_BYTES_SECONDS

    def over() -> bool:
        return copied.complete() or _gone(request) or time.monotonic() >= until

    with copied.path.open("rb") as file, contextlib.suppress(ConnectionError):
        await response.prepare(request)
        blocks = reading.shown(file.fileno(), wanted, tail=tail, follow=follow or copied.ended, complete=over)
        async with contextlib.aclosing(blocks):
            async for text in blocks:
                await response.write(text)
    return response


def _since(request: web.Request) -> int:
    """Unix nanoseconds."""
    seconds = number(request, "sinceSeconds")
    at = request.query.get("sinceTime")
    if seconds is not None and at:
        raise bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified")
    if at:
        since = nanoseconds(at.encode())
        if since is None:
            raise bad_request(f'invalid value for parameter sinceTime: "{at}" is not an RFC 3339 time')
        return since
    return time.time_ns() - seconds * 1_000_000_000 if seconds is not None else 0


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
