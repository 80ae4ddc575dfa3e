"""Events, namespaces, nodes and access reviews: what kubectl asks besides pods."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api.answers import bad_request
from controller.api.nodes import node_of
from controller.api.patches import json_patch, merge, strategic
from controller.api.podhandlers import JSON_PATCH, MERGE, STRATEGIC
from controller.api.requests import answer, any_body, as_table, body, flag, listed, selected, shown, wants_table
from controller.api.watch import watch
from controller.fleet.cells import Cells
from controller.objects.fields import Invalid, Json, Report, labels, texts_by_name
from controller.pods.engine import Pods


class OtherHandlers:
    """HTTP to the rest."""

    def __init__(self, pods: Pods, cells: Cells, bookmark_seconds: float) -> None:
        self._pods = pods
        self._cells = cells
        self._bookmarks = bookmark_seconds

    async def list_events(self, request: web.Request) -> web.StreamResponse:
        """List or watch events."""
        namespace = request.match_info.get("namespace", "")
        if flag(request, "watch"):
            return await watch(request, "events", self._pods.events, namespace, self._bookmarks)
        return listed(request, "events", "EventList", self._pods.events, namespace)

    async def get_event(self, request: web.Request) -> web.StreamResponse:
        """One event."""
        name = request.match_info["name"]
        event = self._pods.events.get(request.match_info["namespace"], name)
        if event is None:
            raise Fault(Kind.NOT_FOUND, f'events "{name}"', "not found")
        return shown(request, "events", event)

    async def list_namespaces(self, request: web.Request) -> web.StreamResponse:
        """List or watch namespaces."""
        if flag(request, "watch"):
            return await watch(request, "namespaces", self._pods.namespaces, "", self._bookmarks)
        return listed(request, "namespaces", "NamespaceList", self._pods.namespaces)

    async def get_namespace(self, request: web.Request) -> web.StreamResponse:
        """One namespace."""
        return shown(request, "namespaces", self._pods.find_namespace(request.match_info["name"]))

    async def create_namespace(self, request: web.Request) -> web.StreamResponse:
        """A new namespace."""
        return answer(await self._pods.create_namespace(await body(request)), 201)

    async def change_namespace(self, request: web.Request) -> web.StreamResponse:
        """Change a namespace's labels or annotations, by patch or by the whole object."""
        before = self._pods.find_namespace(request.match_info["name"])
        given = await any_body(request, (STRATEGIC, MERGE, JSON_PATCH, "application/json"))
        apply = {STRATEGIC: strategic, MERGE: merge, JSON_PATCH: json_patch}.get(request.content_type)
        wanted: Any = apply(before, given) if apply else given
        if not isinstance(wanted, dict) or not isinstance(wanted.get("metadata"), dict):
            raise bad_request("the result is not a Namespace")
        metadata: Json = wanted["metadata"]
        report = Report()
        for field, check in (("labels", labels), ("annotations", texts_by_name)):
            if metadata.get(field) is not None:
                check(metadata[field], f"metadata.{field}", report)
        if report.causes:
            raise Invalid(before["metadata"]["name"], report.causes)
        kept = {key: value for key, value in before["metadata"].items() if key not in {"labels", "annotations"}}
        changed = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
        return answer(await self._pods.change_namespace({**before, "metadata": {**kept, **changed}}))

    async def delete_namespace(self, request: web.Request) -> web.StreamResponse:
        """End a namespace and its pods."""
        return answer(await self._pods.delete_namespace(request.match_info["name"]))

    async def list_nodes(self, request: web.Request) -> web.StreamResponse:
        """Cells as nodes."""
        if flag(request, "watch"):
            raise Fault(Kind.UNSUPPORTED, "nodes", "cells cannot be watched as nodes; list them, or watch pods")
        matches = selected(request, "nodes")
        found = [node for node in map(node_of, self._cells.list()) if matches(node)]
        revision = str(self._pods.objects.revisions.last)
        if wants_table(request):
            return answer(as_table(request, "nodes", found, revision))
        return answer(
            {"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": found}
        )

    async def get_node(self, request: web.Request) -> web.StreamResponse:
        """One cell as a node."""
        name = request.match_info["name"]
        for cell in self._cells.list():
            if cell.name == name:
                return shown(request, "nodes", node_of(cell))
        raise Fault(Kind.NOT_FOUND, f'nodes "{name}"', "not found")

    async def review_access(self, request: web.Request) -> web.StreamResponse:
        """Whoever holds the token may do all that there is."""
        review = await body(request)
        review.setdefault("apiVersion", "authorization.k8s.io/v1")
        review.setdefault("kind", "SelfSubjectAccessReview")
        return answer({**review, "status": {"allowed": True, "reason": "the token allows everything"}}, 201)
