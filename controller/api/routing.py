"""Which path is answered by whom: made from the table of kinds."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache, partial

import msgspec
from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api import discovery, pod_logs, proxying, streams, subresources, top, unserved
from controller.api.all_kinds import KEPT, METRICS, NODE_METRICS, POD_METRICS, REVIEWS
from controller.api.authorizing import Reviews
from controller.api.cells_as_nodes import unwritten
from controller.api.first_autoscalers import FirstAutoscalers
from controller.api.handlers import Handlers, list_of, told
from controller.api.requests import answer, as_table, wants_table
from controller.objects import openapi
from controller.objects.admission import How
from controller.objects.kinds import NODES, SERVICES
from controller.objects.kinds_without_effect import FIRST_AUTOSCALERS
from controller.objects.library import Library
from controller.objects.resource import Resource
from controller.objects.tokens import Tokens
from controller.pods.engine import Pods
from controller.pods.kind import PODS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# What a person is told of who sends another kind.
SERVED = ", ".join(sorted({one.kind for one in KEPT} - {"Node", "Event"}))

# Parts of a pod that nobody writes, by which methods they are asked for, why not, and what to do instead.
POD_PARTS = (
    ("status", ("PUT", "PATCH"), "cannot have its status written: that says what was seen on its cell", ""),
    # kubectl reads what it is about to patch.
    ("resize", ("GET", "PUT", "PATCH"), "cannot be resized: its cell was bought for its size", "delete the pod"),
)


def route(router: web.UrlDispatcher, method: str, path: str, handler: Handler) -> None:
    """One path."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    router.add_route(method, path, handle)


def verbs(router: web.UrlDispatcher, library: Library, bookmark_seconds: float) -> None:
    """Every verb of every kind that is kept."""
    handlers = Handlers(library, bookmark_seconds)
    for resource in KEPT:
        everywhere = f"{resource.root}/{resource.name}"
        place = f"{resource.root}/namespaces/{{namespace}}/{resource.name}" if resource.namespaced else everywhere
        one = f"{place}/{{name}}"
        served = (
            ("list", "GET", place, handlers.list),
            ("create", "POST", place, handlers.create),
            ("deletecollection", "DELETE", place, handlers.delete_all),
            ("get", "GET", one, handlers.get),
            ("update", "PUT", one, handlers.replace),
            ("patch", "PATCH", one, handlers.patch),
            ("delete", "DELETE", one, handlers.delete),
        )
        for verb, method, path, serve in served:
            if verb in resource.verbs:
                route(router, method, path, partial(serve, resource=resource))
        if resource.namespaced and "list" in resource.verbs:
            route(router, "GET", everywhere, partial(handlers.list, resource=resource))
        _status(router, resource, one, handlers)


def first_autoscalers(router: web.UrlDispatcher, library: Library) -> None:
    """The verbs of autoscalers in their first form."""
    handlers, kind = FirstAutoscalers(library), FIRST_AUTOSCALERS
    place = f"{kind.root}/namespaces/{{namespace}}/{kind.name}"
    route(router, "GET", f"{kind.root}/{kind.name}", handlers.list)
    route(router, "GET", place, handlers.list)
    route(router, "POST", place, handlers.create)
    for method, serve in (
        ("GET", handlers.get),
        ("PUT", handlers.replace),
        ("PATCH", handlers.patch),
        ("DELETE", handlers.delete),
    ):
        route(router, method, f"{place}/{{name}}", serve)


def _status(router: web.UrlDispatcher, resource: Resource, one: str, handlers: Handlers) -> None:
    part = resource.subresource("status")
    if part is None:
        return
    served = {"get": ("GET", handlers.get), "update": ("PUT", handlers.replace), "patch": ("PATCH", handlers.patch)}
    for verb in part.verbs:
        method, serve = served[verb]
        serving = (
            partial(serve, resource=resource) if verb == "get" else partial(serve, resource=resource, part="status")
        )
        route(router, method, f"{one}/status", serving)


def sessions(router: web.UrlDispatcher, pods: Pods, library: Library) -> None:
    """What pods have beside themselves: logs, sessions, containers put in later."""
    one = f"{PODS.root}/namespaces/{{namespace}}/pods/{{name}}"
    route(router, "GET", f"{one}/log", partial(pod_logs.log, pods=pods))
    for name, serve in (
        ("exec", streams.execute),
        ("attach", streams.attach),
        ("portforward", streams.port_forward),
    ):
        for method in ("GET", "POST"):
            route(router, method, f"{one}/{name}", partial(serve, pods=pods))
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for path in (f"{one}/proxy", f"{one}/proxy/{{path:.*}}"):
            route(router, method, path, partial(proxying.proxy, pods=pods))
        service = f"{SERVICES.root}/namespaces/{{namespace}}/services/{{name}}/proxy"
        for path in (service, f"{service}/{{path:.*}}"):
            route(router, method, path, partial(proxying.proxy_service, pods=pods, library=library))
    subresources.route_all(router, library, pods.tokens)


def tops(router: web.UrlDispatcher, answers: top.Tops) -> None:
    """What pods and nodes use."""
    for resource, all_of, one in (
        (POD_METRICS, answers.pods, answers.pod),
        (NODE_METRICS, answers.nodes, answers.node),
    ):
        place = f"{resource.root}/{resource.name}"
        route(router, "GET", place, all_of)
        if resource.namespaced:
            place = f"{resource.root}/namespaces/{{namespace}}/{resource.name}"
            route(router, "GET", place, all_of)
        route(router, "GET", f"{place}/{{name}}", one)


def reviews(router: web.UrlDispatcher, tokens: Tokens, library: Library) -> None:
    """Who one is, and what one may."""
    handlers = Reviews((*KEPT, *METRICS, *REVIEWS), tokens, library)
    for resource in REVIEWS:
        root = f"{resource.root}/namespaces/{{namespace}}" if resource.namespaced else resource.root
        route(router, "POST", f"{root}/{resource.name}", partial(handlers.review, resource=resource))


def refusals(router: web.UrlDispatcher) -> None:
    """Kinds that are not served: the reason, and what to do instead."""
    for one in unserved.KINDS:
        resource = unserved.resource_of(one)

        refuse = partial(_refused, one=one)

        async def none(
            request: web.Request, one: unserved.Unserved = one, resource: Resource = resource
        ) -> web.Response:
            how = How(warnings=[unserved.sentence(one, SERVED)])
            if wants_table(request):
                return told(answer(as_table(request, resource, [], "")), how)
            return told(answer(list_of(resource, (), "")), how)

        async def absent(request: web.Request, resource: Resource = resource) -> web.StreamResponse:
            raise Fault(Kind.NOT_FOUND, f'{resource.key} "{request.match_info["name"]}"', "not found")

        places = [f"{resource.root}/{one.name}"]
        if one.namespaced:
            places.append(f"{resource.root}/namespaces/{{namespace}}/{one.name}")
        for place in places:
            route(router, "GET", place, none)
            for method in ("POST", "DELETE"):
                route(router, method, place, refuse)
        route(router, "GET", f"{places[-1]}/{{name}}", absent)
        for method in ("PUT", "PATCH", "DELETE"):
            route(router, method, f"{places[-1]}/{{name}}", refuse)

    for method in ("PUT", "PATCH", "DELETE"):
        route(router, method, f"{NODES.root}/nodes/{{name}}", _unwritable)
    _parts_of_pods(router)


def _parts_of_pods(router: web.UrlDispatcher) -> None:
    for part, methods, cause, mend in POD_PARTS:
        for method in methods:
            place = f"{PODS.root}/namespaces/{{namespace}}/pods/{{name}}/{part}"
            route(router, method, place, partial(_unwritten_part, cause=cause, mend=mend))


async def _refused(_request: web.Request, one: unserved.Unserved) -> web.StreamResponse:
    raise Fault(Kind.UNSUPPORTED, "", unserved.sentence(one, SERVED))


async def _unwritten_part(request: web.Request, cause: str, mend: str) -> web.StreamResponse:
    raise Fault(Kind.UNSUPPORTED, f'pods "{request.match_info["name"]}"', cause, mend)


async def _unwritable(request: web.Request) -> web.StreamResponse:
    raise unwritten(request.match_info["name"])


def documents(router: web.UrlDispatcher, address: str) -> None:
    """Discovery and OpenAPI."""
    listed = _listed()
    groups = [one for one in listed if one[0]]
    told: dict[str, object] = {"/version": discovery.VERSION}
    schemas = {"/openapi/v3": _openapi_index}
    for (name, version), found in listed.items():
        root = f"apis/{name}/{version}" if name else f"api/{version}"
        told[f"/{root}"] = discovery.resources(f"{name}/{version}" if name else version, found)
        schemas[f"/openapi/v3/{root}"] = partial(_openapi, known=(name, version))
        if name:
            told[f"/apis/{name}"] = discovery.group(name, groups)
    told["/"] = discovery.paths((*told, *schemas))
    serving = {path: partial(_document, encoded=msgspec.json.encode(document)) for path, document in told.items()}
    # Generated clients ask with a slash at the end.
    for path, serve in (serving | schemas).items():
        for one in {path, f"{path.rstrip('/')}/"}:
            route(router, "GET", one, serve)
    core = [(known, found) for known, found in listed.items() if not known[0]]
    others = [(known, found) for known, found in listed.items() if known[0]]
    for path, legacy, aggregated in (
        ("/api", discovery.versions(address), discovery.aggregated(core)),
        ("/apis", discovery.groups(groups), discovery.aggregated(others)),
    ):
        both = partial(_either, legacy=msgspec.json.encode(legacy), aggregated=msgspec.json.encode(aggregated))
        for one in (path, f"{path}/"):
            route(router, "GET", one, both)
    route(router, "GET", "/openapi/v2", _openapi_v2)


def _listed() -> dict[tuple[str, str], list[Resource]]:
    refused = map(unserved.resource_of, unserved.KINDS)
    return discovery.by_version([*KEPT, FIRST_AUTOSCALERS, *METRICS, *REVIEWS, *refused])


@cache
def _schemas() -> dict[tuple[str, str], bytes]:
    """Made when first asked for: they take a tenth of a start, and not everybody asks."""
    version = discovery.VERSION["gitVersion"]
    return {
        known: msgspec.json.encode(openapi.document([one for one in found if one.type.__struct_fields__], version))
        for known, found in _listed().items()
    }


async def _openapi(request: web.Request, known: tuple[str, str]) -> web.StreamResponse:
    return await _document(request, _schemas()[known])


@cache
def _index() -> bytes:
    digest = hashlib.sha256(b"".join(_schemas().values())).hexdigest()[:32]
    return msgspec.json.encode(discovery.openapi_index(_schemas(), digest))


async def _openapi_index(request: web.Request) -> web.StreamResponse:
    return await _document(request, _index())


async def _document(_request: web.Request, encoded: bytes) -> web.StreamResponse:
    return web.Response(body=encoded, content_type="application/json")


async def _either(request: web.Request, legacy: bytes, aggregated: bytes) -> web.StreamResponse:
    if "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" not in request.headers.get("Accept", "").replace(" ", ""):
        return await _document(request, legacy)
    return web.Response(body=aggregated, headers={"Content-Type": discovery.AGGREGATED})


async def _openapi_v2(request: web.Request) -> web.StreamResponse:
    if "protobuf" not in request.headers.get("Accept", ""):
        return await _document(request, msgspec.json.encode(discovery.OPENAPI_V2))
    return web.Response(
        body=discovery.openapi_v2_protobuf(),
        headers={"Content-Type": "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"},
    )
