"""Parts of objects with paths of their own: containers put into a running pod, evictions."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from aiohttp import web

from controller.api.answers import success
from controller.api.columns import selector
from controller.api.handlers import STRATEGIC, ending_of, how_of, patched, told
from controller.api.requests import answer, any_body, body
from controller.objects.admission import How
from controller.objects.fields import Invalid, Json, Report, bad_request
from controller.objects.kinds import SERVICE_ACCOUNTS
from controller.objects.library import Library
from controller.objects.moments import timestamp
from controller.objects.resource import Resource
from controller.objects.schema import policies
from controller.objects.tokens import AUDIENCE, Bearer, Tokens
from controller.pods import spec
from controller.pods.kind import PODS

SCALES = Resource(name="scales", kind="Scale", type=policies.Scale, group="autoscaling")
_POD = f"{PODS.root}/namespaces/{{namespace}}/pods/{{name}}"


def route_all(router: web.UrlDispatcher, library: Library, tokens: Tokens) -> None:
    """The paths of these parts."""

    async def pod(request: web.Request) -> web.StreamResponse:
        return answer(library.find(PODS, request.match_info["namespace"], request.match_info["name"]))

    router.add_get(f"{_POD}/ephemeralcontainers", pod)
    for method in ("PUT", "PATCH"):
        router.add_route(method, f"{_POD}/ephemeralcontainers", partial(_put_in, library=library))
    for resource in library.resources:
        if resource.subresource("scale") is not None:
            one = f"{resource.root}/namespaces/{{namespace}}/{resource.name}/{{name}}/scale"
            router.add_get(one, partial(_scale, library=library, resource=resource))
            for method in ("PUT", "PATCH"):
                router.add_route(method, one, partial(_rescale, library=library, resource=resource))
    account = f"{SERVICE_ACCOUNTS.root}/namespaces/{{namespace}}/{SERVICE_ACCOUNTS.name}/{{name}}/token"
    router.add_post(account, partial(_token, library=library, tokens=tokens))
    router.add_post(f"{_POD}/eviction", partial(_evict, library=library))


async def _put_in(request: web.Request, library: Library) -> web.StreamResponse:
    """Put containers into a pod that runs; what is in it already stays as it is."""
    given = await any_body(
        request,
        (
            "application/json",
            "application/strategic-merge-patch+json",
            "application/merge-patch+json",
            "application/json-patch+json",
        ),
    )
    how = await how_of(request)
    kind = request.content_type

    def change(before: Json) -> Json:
        wanted: Any = given if request.method == "PUT" else patched(PODS, before, given, kind)
        if not isinstance(wanted, dict) or not isinstance(cast("Json", wanted).get("spec"), dict):
            raise bad_request("the result of the change is no Pod")
        return with_ephemeral(before, cast("Json", wanted)["spec"].get("ephemeralContainers") or [])

    namespace, name = request.match_info["namespace"], request.match_info["name"]
    changed = await _written(library, namespace, name, change, how)
    return told(answer(changed), how)


async def _written(library: Library, namespace: str, name: str, change: Any, how: How) -> Json:
    if how.dry_run:
        return change(library.find(PODS, namespace, name))
    return await library.keeper(PODS).change(namespace, name, change)


def with_ephemeral(before: Json, wanted: list[Json]) -> Json:
    """The pod with these ephemeral containers. Raises Invalid."""
    report = Report()
    held: list[Json] = before["spec"].get("ephemeralContainers") or []
    if [one.get("name") for one in wanted[: len(held)]] != [one["name"] for one in held]:
        report.forbidden("spec.ephemeralContainers", "existing ephemeral containers may not be removed")
    filled = spec.ephemeral_filled(before, wanted, report)
    for index, (one, other) in enumerate(zip(held, filled, strict=False)):
        if one != other:
            report.forbidden(f"spec.ephemeralContainers[{index}]", "existing ephemeral containers may not be changed")
    if report.causes:
        raise Invalid(before["metadata"]["name"], report.causes)
    return {**before, "spec": {**before["spec"], "ephemeralContainers": filled}}


async def _evict(request: web.Request, library: Library) -> web.StreamResponse:
    """Delete a pod as draining does. There is no budget to keep: see the warning of PodDisruptionBudgets."""
    eviction = await body(request)
    options = eviction.get("deleteOptions") or {}
    how = await how_of(request, options=options)
    namespace, name = request.match_info["namespace"], request.match_info["name"]
    await library.delete(PODS, namespace, name, ending_of(request, options), how, options.get("preconditions"))
    return told(answer(success(name, "pods"), 201), how)


def scale_of(one: Json) -> Json:
    """How many replicas an object has and is to have, as autoscaling/v1 says it."""
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {name: one["metadata"][name] for name in names if name in one["metadata"]}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": one["spec"].get("replicas", 1)},
        "status": {
            "replicas": (one.get("status") or {}).get("replicas", 0),
            "selector": selector(one["spec"].get("selector")),
        },
    }


async def _scale(request: web.Request, library: Library, resource: Resource) -> web.StreamResponse:
    return answer(scale_of(library.find(resource, request.match_info["namespace"], request.match_info["name"])))


async def _rescale(request: web.Request, library: Library, resource: Resource) -> web.StreamResponse:
    given = await any_body(
        request, ("application/json", "application/merge-patch+json", STRATEGIC, "application/json-patch+json")
    )
    how, kind = await how_of(request), request.content_type

    def change(before: Json) -> Json:
        shown = scale_of(before)
        wanted: Any = given if request.method == "PUT" else patched(SCALES, shown, given, kind)
        if not isinstance(wanted, dict) or not isinstance(cast("Json", wanted).get("spec"), dict):
            raise bad_request("the result of the change is no Scale")
        scale = cast("Json", wanted)
        replicas = scale["spec"].get("replicas", 0)
        if isinstance(replicas, bool) or not isinstance(replicas, int) or not 0 <= replicas < 2**31:
            report = Report()
            report.invalid("spec.replicas", replicas, "must be a whole number, 0 or more")
            raise Invalid(before["metadata"]["name"], report.causes, "Scale", "autoscaling")
        version = (scale.get("metadata") or {}).get("resourceVersion", "")
        metadata = {**before["metadata"], "resourceVersion": version}
        return {**before, "metadata": metadata, "spec": {**before["spec"], "replicas": replicas}}

    namespace, name = request.match_info["namespace"], request.match_info["name"]
    return told(answer(scale_of(await library.change(resource, namespace, name, change, how))), how)


async def _token(request: web.Request, library: Library, tokens: Tokens) -> web.StreamResponse:
    """A token of a service account, as `kubectl create token` asks for it."""
    wanted = await body(request)
    namespace, name = request.match_info["namespace"], request.match_info["name"]
    account = library.find(SERVICE_ACCOUNTS, namespace, name)
    spec: Json = wanted.get("spec") or {}
    seconds = int(spec.get("expirationSeconds") or 3600)
    if not 600 <= seconds <= 2**31:
        raise bad_request("spec.expirationSeconds must be from 600 seconds on")
    audience = next(iter(spec.get("audiences") or ()), AUDIENCE)
    bearer = Bearer(namespace, name, account["metadata"]["uid"], audience=audience)
    status = {
        "token": tokens.issue(bearer, seconds),
        "expirationTimestamp": timestamp(tokens.now() + seconds),
    }
    made = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {"name": name}}
    return answer({**made, "spec": {**spec, "audiences": [audience]}, "status": status}, 201)
