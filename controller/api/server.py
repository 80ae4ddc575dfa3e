"""The HTTP server of the pods API: routes, who may ask, and errors as Kubernetes Statuses.

TLS, and bearer tokens: the owner's, from a file of theirs alone, those of grants and of service accounts. Whatever a
client sends, it gets a Status and never a traceback.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import msgspec
import structlog
from aiohttp import web

from cellwire.faults import Fault, Kind
from cellwire.rpc.door import listening_at
from controller.api import admin_kubeconfig, health, measuring, people, routing, top
from controller.api.authorization import Gate
from controller.api.authorizing import stands_for
from controller.api.callers import Callers, places
from controller.api.cells_as_nodes import Nodes
from controller.api.certificates import Certified
from controller.api.dashboard import serving
from controller.api.grants import Grants
from controller.api.people import AccessRequest, Who
from controller.api.prometheus import Metrics
from controller.api.requests import ALLOWED, LARGEST_BODY, SPENT, WHO, answer
from controller.api.routing import Handler, route
from controller.api.settings import ApiSettings
from controller.api.statuses import failure, status_of
from controller.fleet.cells import Telling
from controller.objects.fields import Json
from controller.objects.kinds import NAMESPACES, NODES, SERVICE_ACCOUNTS
from controller.objects.library import Library
from controller.objects.tokens import AUDIENCE, Tokens
from controller.pods.engine import Pods

__all__ = ["ApiSettings", "Server", "running"]

log = structlog.get_logger()

OPEN_PATHS = frozenset({*health.PATHS, *serving.PATHS})
SHUTDOWN = 1.0
# For how long what is under way may outlive its right.
EVERY = 1.0


class Server(msgspec.Struct, frozen=True):
    """A running server: its port, where its kubeconfig is, and what that says of the server."""

    port: int
    kubeconfig: str
    cluster: Json


@asynccontextmanager
async def running(
    library: Library,
    pods: Pods,
    cells: Telling,
    settings: ApiSettings,
    gate: Gate,
    metrics: Metrics | None = None,
) -> AsyncGenerator[Server]:
    """Serve until left, with /metrics where there are any. Raises Fault where the port cannot be had."""
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = admin_kubeconfig.token_of(settings.folder)
    certified = Certified(settings)
    await asyncio.to_thread(certified.renew)
    library.keep(NODES, Nodes(cells, library.revisions))
    known = _Known(f"Bearer {token}".encode(), pods.tokens, library, gate.grants)
    standing = Standing(known.who, gate.grants.revoked)
    callers = Callers(places())
    app = _app(library, pods, settings, known, _Gates(gate, standing, callers))
    nodes = library.keeper(NODES).objects
    routing.tops(app.router, top.Tops(pods, cells, nodes.list, settings.heartbeat))
    checks = {"objects": lambda: _has_default(library), "certificate": lambda: certified.holds}
    health.route_all(app.router, checks)
    dashboard = serving.Dashboard(library, cells)
    dashboard.route(app.router)
    if metrics is not None:
        route(app.router, "GET", measuring.PATH, partial(_metrics, metrics=metrics))
    logger = callers.logger
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN, logger=logger)
    await runner.setup()
    served: Callable[[], asyncio.Protocol] | None = runner.server
    assert served is not None
    listening: list[socket.socket] = []
    try:
        try:
            listening += await listening_at(settings.host, settings.port)
        except OSError as error:
            thing = f"pods API at {settings.host} port {settings.port}"
            raise Fault(Kind.UNAVAILABLE, thing, str(error), "choose another api.host or api.port") from error
        port = int(listening[0].getsockname()[1])
        async with asyncio.TaskGroup() as tasks:
            keeping = [
                tasks.create_task(callers.accept(listening, certified.context, served), name="pods API"),
                tasks.create_task(certified.keep(), name="certificate of the pods API"),
                tasks.create_task(dashboard.keep(), name="samples for the dashboard"),
                tasks.create_task(standing.keep(), name="ends of tokens"),
            ]
            try:
                cluster = admin_kubeconfig.cluster_of(settings, port)
                yield Server(
                    port,
                    str(admin_kubeconfig.write(settings.folder, admin_kubeconfig.document(cluster, token))),
                    cluster,
                )
            finally:
                for task in keeping:
                    task.cancel()
    finally:
        for each in listening:
            each.close()
        await runner.cleanup()


def _app(library: Library, pods: Pods, settings: ApiSettings, known: _Known, gates: _Gates) -> web.Application:
    guard = partial(_guarded, known=known, gates=gates)
    app = web.Application(middlewares=[web.middleware(_statuses), web.middleware(guard)], client_max_size=LARGEST_BODY)
    routing.documents(app.router, f"{settings.host}:{settings.port}")
    routing.verbs(app.router, library, settings.bookmark_seconds)
    routing.first_autoscalers(app.router, library)
    routing.sessions(app.router, pods, library)
    routing.reviews(app.router, pods.tokens, library)
    routing.refusals(app.router)
    return app


def _has_default(library: Library) -> bool:
    """Whether the objects are there: one of them is from the first start on."""
    return library.objects(NAMESPACES.key).get("", "default") is not None


async def _metrics(request: web.Request, metrics: Metrics) -> web.StreamResponse:
    return measuring.answer(request, metrics)


class _Known:
    """The bearer of a token: the controller's owner, somebody with a grant, or a service account that is there."""

    def __init__(self, expected: bytes, tokens: Tokens, library: Library, grants: Grants) -> None:
        self._expected = expected
        self._tokens = tokens
        self._library = library
        self._grants = grants

    def who(self, shown: str) -> Who | None:
        """None for nobody."""
        if hmac.compare_digest(shown.encode(errors="replace"), self._expected):
            return people.owner()
        if (holder := self._grants.holder(shown.removeprefix("Bearer "))) is not None:
            return holder
        bearer = self._tokens.read(shown.removeprefix("Bearer "))
        if bearer is None or bearer.audience != AUDIENCE or not stands_for(bearer, self._library):
            return None
        account = self._library.find(SERVICE_ACCOUNTS, bearer.namespace, bearer.account)
        return people.account(bearer.namespace, bearer.account, account["metadata"].get("annotations") or {})


class _Gates(msgspec.Struct, frozen=True):
    """Through which each request goes, and by which what it began is ended."""

    gate: Gate
    standing: Standing
    callers: Callers


async def _guarded(request: web.Request, handler: Handler, *, known: _Known, gates: _Gates) -> web.StreamResponse:
    """Only who is known passes, and to what they may, as long as they may; what they do is noted."""
    if request.path in OPEN_PATHS:
        return await handler(request)
    gate, shown = gates.gate, people.shown(request.headers)
    who = known.who(shown)
    asked = people.wanted(request.method, request.path, watch="watch" in request.query)
    if who is None:
        gates.callers.refused("a request had no token that holds", request.remote)
        gate.audit.request("nobody", asked or _document(request), 401, peer=request.remote)
        return answer(failure(401, "Unauthorized", "Unauthorized"), 401)
    gates.callers.known(request.transport)
    if (refused := _refused(request, who, asked)) is not None:
        gate.note(request, who, asked or _document(request), refused)
        return refused
    request[WHO] = who
    request[ALLOWED], request[SPENT] = gate.allowed, gate.spent
    with gates.standing.doing(shown, who):
        return await gate.noted(request, who, asked, handler)


def _refused(request: web.Request, who: Who, asked: AccessRequest | None) -> web.Response | None:
    if request.path == measuring.PATH and not who.owns_all:
        cause = f'forbidden: User "{who.name}" cannot get path "{measuring.PATH}": only the role admin may'
        return answer(failure(403, "Forbidden", cause), 403)
    if asked is not None and people.impersonates(request.headers):
        cause = "nobody acts as somebody else here; use that one's own token"
        return answer(failure(403, "Forbidden", f"impersonation is not served: {cause}"), 403)
    if asked is not None and (why := people.refusal(who, asked)):
        details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
        return answer(failure(403, "Forbidden", people.sentence(who, asked, why), details), 403)
    return None


def _document(request: web.Request) -> AccessRequest:
    return AccessRequest(verb="get", resource=request.path)


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


class Standing:
    """Requests under way, by their tokens: watches, logs and sessions end when the right by which they were begun ends.

    A token is over or revoked, its account or pod is deleted, its role is another: whatever it is, the token is not
    whose it was when the request came. Short requests are mostly over before anybody looks. `who` says whose a token is
    now; `news` is set when a token was revoked.
    """

    def __init__(self, who: Callable[[str], Who | None], news: asyncio.Event) -> None:
        self._who = who
        self._news = news
        self._open: dict[asyncio.Task[object], tuple[str, Who]] = {}

    @contextmanager
    def doing(self, shown: str, who: Who) -> Generator[None]:
        """What is done inside, on showing this token, ends when it is not theirs any more."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is answered in a task")
        self._open[task] = shown, who
        try:
            yield
        finally:
            del self._open[task]

    async def keep(self) -> None:
        """Look every second and when there is news, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._news.wait()
            self._news.clear()
            for task, (shown, who) in tuple(self._open.items()):
                if self._who(shown) != who:
                    log.info("what somebody did is ended: their token does not hold any more", who=who.name)
                    task.cancel()
