"""Watches: what is there now, then every change, as one JSON document a line, for objects and for tables alike.

An object that begins or ceases to match the selectors is shown as added or deleted, as Kubernetes does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

import msgspec
from aiohttp import web

from cellwire.faults import Fault
from controller.api.requests import as_table, flag, metadata_of, number, selected, until, wants_metadata, wants_table
from controller.api.statuses import status_of
from controller.objects.collection import ObjectChange, Objects
from controller.objects.fields import Json
from controller.objects.resource import Resource

# How soon a client that went away is noticed while nothing happens.
LOOK_UP = 5.0
PIECE = 64 << 10


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
        self._table, self._metadata = wants_table(request), wants_metadata(request)
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
            there = [one for one in self._objects.list(self._namespace) if self._matches(one)]
            await self._send(self._said("ADDED", one) for one in there)
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
                await self._send([{"type": "ERROR", "object": status_of(fault)}])
                return
            if changes:
                seen = changes[-1].revision
                await self._send(line for change in changes if (line := self._shown(change)) is not None)
            if self._bookmarks and now - marked >= self._bookmarks:
                marked, seen = now, max(seen, self._objects.revisions.last)
                await self._bookmark(seen, {})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_UP, max(ends - now, 0.0))):
                    await self._objects.changed(seen)

    def _shown(self, change: ObjectChange) -> Json | None:
        """The watch event of a change; None for none."""
        if self._namespace and change.object["metadata"].get("namespace") != self._namespace:
            return None
        after = change.type != "DELETED" and self._matches(change.object)
        before = change.before is not None and self._matches(change.before)
        if after:
            return self._said("MODIFIED" if before else "ADDED", change.object)
        return self._said("DELETED", change.object) if before else None

    def _said(self, kind: str, one: Json) -> Json:
        if self._table:
            one = as_table(self._request, self._resource, [one], one["metadata"]["resourceVersion"])
        return {"type": kind, "object": metadata_of(one) if self._metadata else one}

    async def _send(self, lines: Iterable[Json]) -> None:
        """Many lines by few writes: each is a record of TLS and a system call."""
        data = bytearray()
        for line in lines:
            data += msgspec.json.encode(line) + b"\n"
            if len(data) >= PIECE:
                await self._response.write(bytes(data))
                data.clear()
        if data:
            await self._response.write(bytes(data))

    async def _bookmark(self, revision: int, annotations: Json) -> None:
        metadata: Json = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        kind, version = self._resource.kind, self._resource.api_version
        marked: Json = {"kind": kind, "apiVersion": version, "metadata": metadata}
        if self._table:
            marked = as_table(self._request, self._resource, [], str(revision))
        elif self._metadata:
            marked = metadata_of(marked)
        await self._send([{"type": "BOOKMARK", "object": marked}])


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
