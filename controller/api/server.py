"""The HTTP server of the pods API: routes, who may ask, and errors as Kubernetes Statuses.

Loopback and TLS; a bearer token from a file of its owner's alone. Whatever a client sends, it gets a Status and
never a traceback.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import structlog
from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api import discovery, kubeconfig, logs, measuring, streams
from controller.api.answers import failure, status_of
from controller.api.metrics import Metrics
from controller.api.others import OtherHandlers
from controller.api.podhandlers import PodHandlers
from controller.api.requests import LARGEST_BODY, answer
from controller.api.settings import ApiSettings
from controller.fleet.cells import Cells
from controller.objects.fields import Json
from controller.pods.engine import Pods

__all__ = ["ApiSettings", "Server", "running"]

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
SHUTDOWN = 1.0


class Server(msgspec.Struct, frozen=True):
    """A running server: its port, and where its kubeconfig is."""

    port: int
    kubeconfig: str


@asynccontextmanager
async def running(
    pods: Pods, cells: Cells, settings: ApiSettings, metrics: Metrics | None = None
) -> AsyncGenerator[Server]:
    """Serve until left, with /metrics where there are any. Raises Fault where the port cannot be had."""
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = kubeconfig.token_of(settings.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    context.set_alpn_protocols(["http/1.1"])
    app = _app(pods, cells, settings, token)
    if metrics is not None:
        _route(app.router, "GET", measuring.PATH, partial(_metrics, metrics=metrics))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            thing = f"pods API at {settings.host} port {settings.port}"
            raise Fault(Kind.UNAVAILABLE, thing, str(error), "choose another api.host or api.port") from error
        port = int(runner.addresses[0][1])
        yield Server(port, str(kubeconfig.write(settings, port, token)))
    finally:
        await runner.cleanup()


def _app(pods: Pods, cells: Cells, settings: ApiSettings, token: str) -> web.Application:
    guard = partial(_guarded, expected=f"Bearer {token}".encode())
    app = web.Application(middlewares=[web.middleware(_statuses), web.middleware(guard)], client_max_size=LARGEST_BODY)
    own, others = PodHandlers(pods, settings.bookmark_seconds), OtherHandlers(pods, cells, settings.bookmark_seconds)
    _discover(app.router, settings)
    one, all_of = "/api/v1/namespaces/{namespace}/pods/{name}", "/api/v1/namespaces/{namespace}/pods"
    _route(app.router, "GET", "/api/v1/pods", own.list)
    _route(app.router, "GET", all_of, own.list)
    _route(app.router, "POST", all_of, own.create)
    _route(app.router, "DELETE", all_of, own.delete_all)
    _route(app.router, "GET", one, own.get)
    _route(app.router, "PATCH", one, own.patch)
    _route(app.router, "PUT", one, own.replace)
    _route(app.router, "DELETE", one, own.delete)
    _route(app.router, "GET", f"{one}/log", partial(logs.log, pods=pods))
    for name, serve in (
        ("exec", streams.execute),
        ("attach", streams.attach),
        ("portforward", streams.port_forward),
    ):
        for method in ("GET", "POST"):
            _route(app.router, method, f"{one}/{name}", partial(serve, pods=pods))
    _route(app.router, "GET", "/api/v1/events", others.list_events)
    _route(app.router, "GET", "/api/v1/namespaces/{namespace}/events", others.list_events)
    _route(app.router, "GET", "/api/v1/namespaces/{namespace}/events/{name}", others.get_event)
    _route(app.router, "GET", "/api/v1/namespaces", others.list_namespaces)
    _route(app.router, "POST", "/api/v1/namespaces", others.create_namespace)
    _route(app.router, "GET", "/api/v1/namespaces/{name}", others.get_namespace)
    _route(app.router, "PATCH", "/api/v1/namespaces/{name}", others.change_namespace)
    _route(app.router, "PUT", "/api/v1/namespaces/{name}", others.change_namespace)
    _route(app.router, "DELETE", "/api/v1/namespaces/{name}", others.delete_namespace)
    _route(app.router, "GET", "/api/v1/nodes", others.list_nodes)
    _route(app.router, "GET", "/api/v1/nodes/{name}", others.get_node)
    reviews = f"/apis/{discovery.AUTHORIZATION}/v1/selfsubjectaccessreviews"
    _route(app.router, "POST", reviews, others.review_access)
    return app


def _route(router: web.UrlDispatcher, method: str, path: str, handler: Handler) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    router.add_route(method, path, handle)


def _discover(router: web.UrlDispatcher, settings: ApiSettings) -> None:
    address = f"{settings.host}:{settings.port}"
    core, reviews = discovery.CORE, discovery.REVIEWS
    group = discovery.AUTHORIZATION
    documents = {
        "/version": discovery.VERSION,
        "/api/v1": discovery.resources("v1", core),
        f"/apis/{group}": discovery.group(),
        f"/apis/{group}/v1": discovery.resources(f"{group}/v1", reviews),
        "/openapi/v3": discovery.OPENAPI_V3_INDEX,
        "/openapi/v3/api/v1": discovery.openapi_v3(),
    }
    for path, document in documents.items():
        _route(router, "GET", path, partial(_document, document=document))
    for path, legacy, name, listed in (
        ("/api", discovery.versions(address), "", core),
        ("/apis", discovery.groups(), group, reviews),
    ):
        both = partial(_either, legacy=legacy, aggregated=discovery.aggregated(name, listed))
        _route(router, "GET", path, both)
    _route(router, "GET", "/openapi/v2", _openapi_v2)
    for path in OPEN_PATHS:
        _route(router, "GET", path, _healthy)


async def _document(_request: web.Request, document: object) -> web.StreamResponse:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


async def _either(request: web.Request, legacy: object, aggregated: object) -> web.StreamResponse:
    if "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" not in request.headers.get("Accept", "").replace(" ", ""):
        return await _document(request, legacy)
    return web.Response(body=msgspec.json.encode(aggregated), headers={"Content-Type": discovery.AGGREGATED})


async def _openapi_v2(request: web.Request) -> web.StreamResponse:
    if "protobuf" not in request.headers.get("Accept", ""):
        return await _document(request, discovery.OPENAPI_V2)
    return web.Response(
        body=discovery.openapi_v2_protobuf(),
        headers={"Content-Type": "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"},
    )


async def _metrics(request: web.Request, metrics: Metrics) -> web.StreamResponse:
    return measuring.answer(request, metrics)


async def _healthy(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


async def _guarded(request: web.Request, handler: Handler, *, expected: bytes) -> web.StreamResponse:
    """Only who shows the token passes."""
    shown = request.headers.get("Authorization", "").encode(errors="replace")
    if request.path not in OPEN_PATHS and not hmac.compare_digest(shown, expected):
        log.warning("a request without the token was refused", peer=request.remote)
        return answer(failure(401, "Unauthorized", "Unauthorized"), 401)
    return await handler(request)


async def _statuses(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Faults and HTTP errors as Statuses; anything else is a 500 whose traceback is in the log."""
    try:
        return await handler(request)
    except Fault as fault:
        status = status_of(fault)
    except web.HTTPException as error:
        status = _http_status(error, request)
    except ConnectionError:
        raise  # the client is gone
    except Exception:
        log.exception("a request failed", method=request.method, path=request.path)
        status = failure(500, "InternalError", "an internal error occurred; the controller's log has more")
    return answer(status, status["code"])


def _http_status(error: web.HTTPException, request: web.Request) -> Json:
    if error.status == 404:
        return failure(404, "NotFound", "the server could not find the requested resource")
    if error.status == 405:
        return failure(405, "MethodNotAllowed", f"{request.method} is not supported at {request.path}")
    if error.status == 413:
        return failure(413, "RequestEntityTooLarge", f"the body of the request is larger than {LARGEST_BODY} bytes")
    return failure(error.status, "BadRequest", error.reason or "")
