"""HorizontalPodAutoscalers as autoscaling/v1 has them: another form of those that are kept as autoscaling/v2.

Manifests, and kubectl before 1.33, write this form. It has one target, what the processors use; others that an
autoscaler has stay as they are. Applying on the server's side and watching are left to autoscaling/v2.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api.handlers import APPLY, JSON_PATCH, MERGE, STRATEGIC, ending_of, how_of, list_of, patched, told
from controller.api.requests import answer, any_body, as_table, body, flag, selected, wants_table, written
from controller.objects import protobuf
from controller.objects.fields import Json, bad_request
from controller.objects.kinds_without_effect import AUTOSCALERS, FIRST_AUTOSCALERS
from controller.objects.library import Library

_TARGET = "targetCPUUtilizationPercentage"


def shown(one: Json) -> Json:
    """An autoscaler in the first form."""
    spec: Json = {name: value for name, value in (one.get("spec") or {}).items() if name not in {"metrics", "behavior"}}
    for metric in (one.get("spec") or {}).get("metrics") or ():
        if _is_of_processors(metric):
            spec[_TARGET] = metric["resource"]["target"].get("averageUtilization")
    return {**one, "apiVersion": FIRST_AUTOSCALERS.api_version, "spec": spec}


def kept(given: Json, before: Json | None = None) -> Json:
    """The autoscaler that is kept for one in the first form; what that form does not tell is as it was before."""
    version = given.get("apiVersion", FIRST_AUTOSCALERS.api_version)
    if version != FIRST_AUTOSCALERS.api_version:
        raise bad_request(f"the apiVersion of the object ({version}) is not {FIRST_AUTOSCALERS.api_version}")
    wanted: Any = given.get("spec") or {}
    if not isinstance(wanted, dict):
        raise bad_request("spec must be an object")
    spec: Json = {**wanted}
    old: Json = (before or {}).get("spec") or {}
    metrics = [one for one in old.get("metrics") or () if not _is_of_processors(one)]
    share = spec.pop(_TARGET, None)
    if share is not None:
        target = {"type": "Utilization", "averageUtilization": share}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    full = {**spec, **({"metrics": metrics} if metrics else {})}
    if old.get("behavior"):
        full["behavior"] = old["behavior"]
    return {**given, "apiVersion": AUTOSCALERS.api_version, "spec": full}


def _is_of_processors(metric: Any) -> bool:
    source: Any = metric.get("resource") if isinstance(metric, dict) else None
    target: Any = source.get("target") if isinstance(source, dict) and source.get("name") == "cpu" else None
    return isinstance(target, dict) and target.get("type") == "Utilization"


class FirstAutoscalers:
    """The verbs."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def list(self, request: web.Request) -> web.StreamResponse:
        """All of a namespace, or of all."""
        if flag(request, "watch"):
            raise _left("watching")
        objects, matches = self._library.keeper(AUTOSCALERS).objects, selected(request, AUTOSCALERS)
        found = [one for one in objects.list(request.match_info.get("namespace", "")) if matches(one)]
        revision = str(objects.revisions.last)
        if wants_table(request):
            return answer(as_table(request, AUTOSCALERS, found, revision))
        return answer(list_of(FIRST_AUTOSCALERS, [shown(one) for one in found], revision))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """One."""
        one = self._library.find(AUTOSCALERS, *_place(request))
        if wants_table(request):
            return answer(as_table(request, AUTOSCALERS, [one], one["metadata"]["resourceVersion"]))
        return written(request, shown(one))

    async def create(self, request: web.Request) -> web.StreamResponse:
        """A new one."""
        given, how = kept(await _sent(request)), await how_of(request)
        made = await self._library.create(AUTOSCALERS, request.match_info["namespace"], given, how)
        return told(written(request, shown(made), 201), how)

    async def replace(self, request: web.Request) -> web.StreamResponse:
        """The whole anew."""
        wanted, how = await _sent(request), await how_of(request)
        changed = await self._library.change(AUTOSCALERS, *_place(request), partial(kept, wanted), how)
        return told(written(request, shown(changed)), how)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """A part of one."""
        if request.content_type == APPLY:
            raise _left("applying on the server's side")
        patch, kind = await any_body(request, (STRATEGIC, MERGE, JSON_PATCH)), request.content_type
        if kind != JSON_PATCH and not isinstance(patch, dict):
            raise bad_request("the body of the request must be a patch")
        how = await how_of(request)

        def change(before: Json) -> Json:
            return kept(patched(FIRST_AUTOSCALERS, shown(before), patch, kind), before)

        changed = await self._library.change(AUTOSCALERS, *_place(request), change, how)
        return told(written(request, shown(changed)), how)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """The end of one."""
        options = await body(request)
        how, ending = await how_of(request, options=options), ending_of(request, options)
        wanted: Any = options.get("preconditions") or {}
        if not isinstance(wanted, dict):
            raise bad_request("preconditions must be an object")
        last = await self._library.delete(AUTOSCALERS, *_place(request), ending, how, wanted)
        return told(answer(shown(last)), how)


async def _sent(request: web.Request) -> Json:
    """The object in a request's body. In protobuf, which kubectl autoscale sends, both forms have the same name."""
    if request.content_type == protobuf.CONTENT_TYPE:
        return protobuf.decode(await request.read(), {FIRST_AUTOSCALERS.kind: FIRST_AUTOSCALERS.type})
    return await body(request)


def _place(request: web.Request) -> tuple[str, str]:
    return request.match_info["namespace"], request.match_info["name"]


def _left(what: str) -> Fault:
    why = f"{what} is not served in this form"
    return Fault(Kind.UNSUPPORTED, "HorizontalPodAutoscalers of autoscaling/v1", why, "use autoscaling/v2")
