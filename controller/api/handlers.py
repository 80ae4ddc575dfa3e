"""One handler a verb for all kinds: HTTP to the library.

What a kind has of its own is in its row of the table; whatever is here holds for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api import restricted
from controller.api.requests import (
    ALLOWED,
    WHO,
    answer,
    any_body,
    applied_body,
    body,
    duplicates,
    flag,
    listed,
    number,
    selected,
    shown,
    written,
)
from controller.api.watch import watch
from controller.objects import patches
from controller.objects.admission import IGNORE, STRICT, WARN, How
from controller.objects.fields import Json, bad_request
from controller.objects.library import Library
from controller.objects.resource import Resource
from controller.objects.stored import Ending

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
POLICIES = ("Background", "Foreground", "Orphan")


class Handlers:
    """The verbs."""

    def __init__(self, library: Library, bookmark_seconds: float) -> None:
        self._library = library
        self._bookmarks = bookmark_seconds

    async def list(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        """List or watch."""
        objects = self._library.keeper(resource).objects
        namespace = request.match_info.get("namespace", "")
        if flag(request, "watch"):
            return await watch(request, resource, objects, namespace, self._bookmarks)
        return listed(request, resource, objects, namespace)

    async def get(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        """One object."""
        return shown(request, resource, self._library.find(resource, *_named(request)))

    async def create(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        """A new object."""
        given = await body(request)
        how = await how_of(request)
        made = await self._library.create(resource, request.match_info.get("namespace", ""), given, how)
        return told(written(request, made, 201), how)

    async def replace(self, request: web.Request, resource: Resource, part: str = "") -> web.StreamResponse:
        """The whole object anew."""
        wanted = await body(request)
        how = await how_of(request, part)
        namespace, name = _named(request)
        if (wanted.get("metadata") or {}).get("name", name) != name:
            raise bad_request(f"the name of the object does not match the name on the URL ({name})")
        changed = await self._library.change(resource, namespace, name, lambda _: wanted, how)
        return told(written(request, changed), how)

    async def patch(self, request: web.Request, resource: Resource, part: str = "") -> web.StreamResponse:
        """A part of an object, or what one manager wants of it."""
        namespace, name = _named(request)
        if request.content_type == APPLY:
            if part:
                raise bad_request(f"server-side apply to the subresource {part} is not served; send another patch")
            return await self._apply(request, resource, namespace, name)
        patch = await any_body(request, (STRATEGIC, MERGE, JSON_PATCH))
        kind = request.content_type
        if kind != JSON_PATCH and not isinstance(patch, dict):
            raise bad_request("the body of the request must be a patch")
        how = await how_of(request, part)
        changed = await self._library.change(
            resource, namespace, name, lambda before: patched(resource, before, patch, kind), how
        )
        return told(written(request, changed), how)

    async def _apply(self, request: web.Request, resource: Resource, namespace: str, name: str) -> web.StreamResponse:
        config = await applied_body(request)
        how = await how_of(request)
        if not request.query.get("fieldManager"):
            raise bad_request("fieldManager is required for apply patch")
        force = flag(request, "force")
        made, created = await self._library.apply(resource, namespace, name, config, how, force=force)
        return told(written(request, made, 201 if created else 200), how)

    async def delete(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        """The end of one object, or its beginning."""
        options = await body(request)
        how = await how_of(request, options=options)
        wanted: Any = options.get("preconditions") or {}
        if not isinstance(wanted, dict):
            raise bad_request("preconditions must be an object")
        namespace, name = _named(request)
        ending = ending_of(request, options)
        last = await self._library.delete(resource, namespace, name, ending, how, cast("Json", wanted))
        return told(answer(last), how)

    async def delete_all(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        """The end of all that match."""
        options = await body(request)
        how, ending = await how_of(request, options=options), ending_of(request, options)
        namespace = request.match_info.get("namespace", "")
        objects = self._library.keeper(resource).objects
        matches = selected(request, resource)
        found = [one for one in objects.list(namespace) if matches(one)]
        for one in found:
            try:
                await self._library.delete(resource, namespace, one["metadata"]["name"], ending, how)
            except Fault as fault:
                if fault.kind is not Kind.NOT_FOUND:
                    raise
        return told(answer(list_of(resource, found, str(objects.revisions.last))), how)


def list_of(resource: Resource, items: Sequence[Json], revision: str) -> Json:
    """Objects as a list of their kind."""
    kind, version = f"{resource.kind}List", resource.api_version
    return {"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": revision}, "items": items}


def patched(resource: Resource, before: Json, patch: object, kind: str) -> Json:
    """The object after a patch of this kind."""
    if kind == JSON_PATCH:
        return patches.json_patch(before, patch)
    if kind == STRATEGIC:
        return cast("Json", patches.strategic(before, patch, resource.shape))
    return cast("Json", patches.merge(before, patch))


async def how_of(request: web.Request, part: str = "", options: Json | None = None) -> How:
    """How the client wants it written."""
    validation = request.query.get("fieldValidation") or WARN
    if validation not in {STRICT, WARN, IGNORE}:
        supported = f"{IGNORE}, {WARN}, {STRICT}"
        raise bad_request(f"fieldValidation parameter {validation!r} is not supported: {supported}")
    manager = request.query.get("fieldManager") or request.headers.get("User-Agent", "").partition("/")[0] or "unknown"
    return How(
        dry_run=dry_run(request, options or {}),
        manager=manager[:128],
        validation=validation,
        duplicates=() if validation == IGNORE else await duplicates(request),
        subresource=part,
        veto=partial(restricted.check, request[WHO], request[ALLOWED]),
    )


def dry_run(request: web.Request, options: Json) -> bool:
    """Whether nothing is to be written."""
    wanted = request.query.getall("dryRun", []) or options.get("dryRun") or []
    if wanted not in ([], ["All"]):
        raise bad_request(f"invalid dryRun {wanted}: supported is All")
    return bool(wanted)


def ending_of(request: web.Request, options: Json) -> Ending:
    """How something is to be deleted."""
    policy = options.get("propagationPolicy") or request.query.get("propagationPolicy") or "Background"
    if options.get("orphanDependents") is True:
        policy = "Orphan"
    if policy not in POLICIES:
        raise bad_request(f"invalid propagationPolicy {policy!r}: supported are {', '.join(POLICIES)}")
    return Ending(grace=_grace(request, options), policy=policy)


def _grace(request: web.Request, options: Json) -> int | None:
    given = options.get("gracePeriodSeconds")
    if given is None:
        return number(request, "gracePeriodSeconds")
    if isinstance(given, bool) or not isinstance(given, int) or not -1 <= given < 2**31:
        raise bad_request("gracePeriodSeconds must be a whole number of seconds, 0 or more")
    return None if given < 0 else given


def told(response: web.Response, how: How) -> web.Response:
    """The answer with what the client is to be warned of."""
    for sentence in how.warnings:
        text = "".join(char if 32 <= ord(char) < 127 else "?" for char in sentence)
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response


def _named(request: web.Request) -> tuple[str, str]:
    return request.match_info.get("namespace", ""), request.match_info["name"]
