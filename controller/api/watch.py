"""Watches: what is there now, then every change, as one JSON document a line, for objects and for tables alike.

An object that begins or ceases to match the selectors is shown as added or deleted, as Kubernetes does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
from aiohttp import web

from cellwire.faults import Fault
from controller.api.answers import status_of
from controller.api.requests import as_table, flag, number, selected, until, wants_table
from controller.objects.collection import Change, Objects
from controller.objects.fields import Json
from controller.objects.resource import Resource

# How soon a client that went away is noticed while nothing happens.
LOOK_UP = 5.0


async def watch(
    request: web.Request, resource: Resource, objects: Objects, namespace: str = "", bookmarks: float = 60.0
) -> web.StreamResponse:
    """Serve a watch of one kind until the client leaves, its time is over, or it fell behind (410)."""
    return await _Watch(request, resource, objects, namespace, bookmarks).serve()


class _Watch:
    def __init__(
        self, request: web.Request, resource: Resource, objects: Objects, namespace: str, bookmarks: float
    ) -> None:
        self._request = request
        self._resource = resource
        self._objects = objects
        self._namespace = namespace
        self._matches = selected(request, resource)
        self._bookmarks = bookmarks if flag(request, "allowWatchBookmarks") else 0.0
        self._table = wants_table(request)
        self._response = web.StreamResponse(headers={"Content-Type": "application/json"})

    async def serve(self) -> web.StreamResponse:
        since = number(self._request, "resourceVersion")
        ends = until(self._request, time.time())
        initial = not since or flag(self._request, "sendInitialEvents")
        if since and not initial:
            self._objects.changes(since)  # too old is a plain 410, before the stream begins
        await self._response.prepare(self._request)
        seen = since or 0
        if initial:
            seen = self._objects.revisions.last
            for one in self._objects.list(self._namespace):
                if self._matches(one):
                    await self._say("ADDED", one)
            if flag(self._request, "sendInitialEvents"):
                await self._bookmark(seen, {"k8s.io/initial-events-end": "true"})
        with contextlib.suppress(ConnectionError):
            await self._follow(seen, ends)
        return self._response

    async def _follow(self, seen: int, ends: float) -> None:
        marked = time.time()
        while (now := time.time()) < ends and not _gone(self._request):
            try:
                changes = self._objects.changes(seen)
            except Fault as fault:
                await self._write({"type": "ERROR", "object": status_of(fault)})
                return
            for change in changes:
                await self._show(change)
                seen = change.revision
            if self._bookmarks and now - marked >= self._bookmarks:
                marked, seen = now, max(seen, self._objects.revisions.last)
                await self._bookmark(seen, {})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_UP, max(ends - now, 0.0))):
                    await self._objects.changed(seen)

    async def _show(self, change: Change) -> None:
        if self._namespace and change.object["metadata"].get("namespace") != self._namespace:
            return
        after = change.type != "DELETED" and self._matches(change.object)
        before = change.before is not None and self._matches(change.before)
        if after:
            await self._say("MODIFIED" if before else "ADDED", change.object)
        elif before:
            await self._say("DELETED", change.object)

    async def _say(self, kind: str, one: Json) -> None:
        shown = one
        if self._table:
            shown = as_table(self._request, self._resource, [one], one["metadata"]["resourceVersion"])
        await self._write({"type": kind, "object": shown})

    async def _bookmark(self, revision: int, annotations: Json) -> None:
        metadata: Json = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        kind, version = self._resource.kind, self._resource.api_version
        marked: Json = {"kind": kind, "apiVersion": version, "metadata": metadata}
        if self._table:
            marked = as_table(self._request, self._resource, [], str(revision))
        await self._write({"type": "BOOKMARK", "object": marked})

    async def _write(self, line: Json) -> None:
        await self._response.write(msgspec.json.encode(line) + b"\n")


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
