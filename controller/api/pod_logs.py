"""GET pods/log: from the controller's own copy of a container's log, which goes on when the cell is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time

from aiohttp import web

from controller.api.loglines import Reader, start_of_tail
from controller.api.requests import flag, number
from controller.objects.fields import bad_request
from controller.objects.timestamps import seconds_of
from controller.pods.engine import Pods
from hostkit import files

CHUNK = 1 << 18
# How soon a new line is seen by one who follows.
PAUSE = 0.1


async def log(request: web.Request, pods: Pods) -> web.StreamResponse:
    """Serve a container's log."""
    pod = pods.find(request.match_info["namespace"], request.match_info["name"])
    path, complete = pods.log_file(pod, request.query.get("container", ""), previous=flag(request, "previous"))
    reader = Reader(since=_since(request), timestamps=flag(request, "timestamps"), limit=_limit(request))
    follow = flag(request, "follow")
    tail = number(request, "tailLines")
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    with path.open("rb") as file:
        begins = files.first_data(file.fileno())
        file.seek(begins if tail is None else start_of_tail(file, tail, begins))
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while not reader.full and not _gone(request):
                last = not follow or complete()
                data = file.read(CHUNK)
                if data.startswith(b"\0") and (begins := files.first_data(file.fileno())) > file.tell() - len(data):
                    # What was to be read next has been given up meanwhile.
                    reader.skip()
                    file.seek(begins)
                elif data:
                    await response.write(reader.feed(data))
                    await asyncio.sleep(0)  # what shows nothing is not waited for by the write
                elif last:
                    break
                else:
                    await asyncio.sleep(PAUSE)
    return response


def _since(request: web.Request) -> float:
    seconds = number(request, "sinceSeconds")
    at = request.query.get("sinceTime")
    if seconds is not None and at:
        raise bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified")
    if at:
        since = seconds_of(at)
        if since is None:
            raise bad_request(f'invalid value for parameter sinceTime: "{at}" is not an RFC 3339 time')
        return since
    return time.time() - seconds if seconds is not None else 0.0


def _limit(request: web.Request) -> int | None:
    limit = number(request, "limitBytes")
    if limit == 0:
        raise bad_request("limitBytes must be greater than 0")
    return limit


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
