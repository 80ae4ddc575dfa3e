"""The HTTP side of exec, attach and port-forward: one-time URLs for a kubelet, and the same for the pods API.

SPDY takes the transport over from aiohttp after its own 101; WebSocket is aiohttp's. Each session lives inside its
HTTP handler, so that a server that stops ends its sessions.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from cellwire.faults import Fault, Kind
from cellwire.stream import portforward, remotecommand, websocket
from cellwire.stream.conversation import converse, while_connected
from cellwire.stream.forward import Dial
from cellwire.stream.pipe import TransportPipe
from cellwire.stream.session import Backend, Session, SessionRequest
from cellwire.stream.spdy_link import SpdyLink
from cellwire.stream.spdy_session import SpdyClient, SpdyLine, serve_forward
from cellwire.stream.websocket_session import (
    CLOSING,
    LARGEST_MESSAGE,
    Socket,
    TunnelPipe,
    WebSocketClient,
    serve_channels,
)

log = logging.getLogger(__name__)

SPDY = "SPDY/3.1"
SHUTDOWN = 0.2
"""Seconds that sessions have to end when the server stops; they are cancelled then."""
Open = Callable[[], AbstractAsyncContextManager[Session]]


LIFETIME = 60.0
"""Seconds between a call's answer and the client's arrival; a kubelet comes within milliseconds."""
MOST = 1000
"""Tokens waiting at one time."""

T = TypeVar("T")


class StreamTokens(Generic[T]):
    """Sessions that wait to be opened, by token. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], *, lifetime: float = LIFETIME, most: int = MOST) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._most = most
        self._waiting: dict[str, tuple[float, T]] = {}  # in order of expiry

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, value: T) -> str:
        """A new token for `value`: eight characters of base64url. Raises Fault UNAVAILABLE when too many wait."""
        self._forget_expired()
        if len(self._waiting) >= self._most:
            raise Fault(
                Kind.UNAVAILABLE,
                "a streaming session",
                f"{self._most} sessions were asked for and not yet opened",
                f"open them, or wait {self._lifetime:.0f} s",
            )
        token = secrets.token_urlsafe(6)
        while token in self._waiting:
            token = secrets.token_urlsafe(6)
        self._waiting[token] = (self._clock() + self._lifetime, value)
        return token

    def take(self, token: str) -> T | None:
        """What `token` stands for, once; None for the unknown, used or expired."""
        self._forget_expired()
        found = self._waiting.pop(token, None)
        return found[1] if found else None

    def _forget_expired(self) -> None:
        now = self._clock()
        for token, (expires, _) in list(self._waiting.items()):
            if expires > now:
                break
            del self._waiting[token]


@dataclass(frozen=True, slots=True)
class _Forward:
    sandbox_id: str
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Command:
    kind: Literal["exec", "attach"]
    request: SessionRequest


class StreamingServer:
    """Hands out one-time URLs for sessions of one backend."""

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        self.base = ""
        self._backend = backend
        self._tokens: StreamTokens[_Command | _Forward] = StreamTokens(clock)

    def exec_url(self, request: SessionRequest) -> str:
        """Where a client may run a command, once, within a minute. Raises Fault INVALID, UNAVAILABLE."""
        validate(request)
        if not request.command:
            raise Fault(Kind.INVALID, f"exec in container {request.container_id}", "no command is given", "give one")
        return f"{self.base}/exec/{self._tokens.add(_Command('exec', request))}"

    def attach_url(self, request: SessionRequest) -> str:
        """Where a client may attach, once, within a minute. Raises Fault INVALID, UNAVAILABLE."""
        validate(request)
        return f"{self.base}/attach/{self._tokens.add(_Command('attach', request))}"

    def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        """Where a client may forward ports, once, within a minute. Raises Fault INVALID, UNAVAILABLE."""
        if not sandbox_id:
            raise Fault(Kind.INVALID, "port-forward", "no sandbox is named", "give its id")
        if (wrong := next((port for port in ports if not 0 < port < 65536), None)) is not None:
            raise Fault(Kind.INVALID, f"port-forward to port {wrong}", "ports are numbers from 1 to 65535")
        return f"{self.base}/portforward/{self._tokens.add(_Forward(sandbox_id, tuple(ports)))}"

    async def command(self, request: web.Request) -> web.StreamResponse:
        """Serve exec and attach."""
        found = self._tokens.take(request.match_info["token"])
        if not isinstance(found, _Command):
            raise web.HTTPNotFound(text="no such session: a URL is valid once and for a minute\n")
        run = self._backend.exec if found.kind == "exec" else self._backend.attach
        wanted = found.request
        return await serve_session(request, lambda: run(wanted), wanted)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Serve port-forward."""
        found = self._tokens.take(request.match_info["token"])
        if not isinstance(found, _Forward):
            raise web.HTTPNotFound(text="no such session: a URL is valid once and for a minute\n")
        return await serve_port_forward(request, partial(self._backend.port_forward, found.sandbox_id), found.ports)


def validate(request: SessionRequest) -> None:
    """Refuse what no session can be. Raises Fault INVALID."""
    what = f"session in container {request.container_id}" if request.container_id else "session"
    if not request.container_id:
        raise Fault(Kind.INVALID, what, "no container is named", "give its id")
    if request.tty and request.stderr:
        raise Fault(Kind.INVALID, what, "tty and stderr are both set", "a terminal has one output: leave stderr out")
    if not (request.stdin or request.stdout or request.stderr):
        raise Fault(Kind.INVALID, what, "none of stdin, stdout and stderr is set", "ask for at least one")


@asynccontextmanager
async def running(backend: Backend, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[StreamingServer]:
    """Serve sessions of `backend` on an address that only this machine reaches."""
    server = StreamingServer(backend, asyncio.get_running_loop().time)
    app = web.Application()
    for method in ("GET", "POST"):
        app.router.add_route(method, "/{kind:exec|attach}/{token}", server.command)
        app.router.add_route(method, "/portforward/{token}", server.forward)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        address, bound = runner.addresses[0][:2]
        server.base = f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}"
        yield server
    finally:
        await runner.cleanup()


async def serve_session(request: web.Request, open: Open, wanted: SessionRequest) -> web.StreamResponse:  # noqa: A002  the contract's name
    """Hold one exec (or, without a command, attach) with whoever sent `request`, in the dialect that it asks for."""
    attach = not wanted.command
    if _asks_for_websocket(request):
        response, socket = await _accept_websocket(request, websocket.SESSION_PROTOCOLS)
        client = WebSocketClient(socket, response.ws_protocol or "", wanted)
        await while_connected(client.line, converse(client, open, attach=attach))
        await socket.close()
        return response
    version = _spdy_version(request, remotecommand.VERSIONS)
    async with _taken_over(request, version) as link:
        await while_connected(SpdyLine(link), converse(SpdyClient(link, wanted, version), open, attach=attach))
    return _Served(status=101)


async def serve_port_forward(request: web.Request, dial: Dial, ports: Sequence[int]) -> web.StreamResponse:
    """Forward ports for whoever sent `request`. `ports` count only where the dialect does not name them itself."""
    if _asks_for_websocket(request):
        offered = _offered_protocols(request)
        supported = (websocket.TUNNEL, *websocket.PORT_FORWARD_PROTOCOLS) if ports else (websocket.TUNNEL,)
        if websocket.TUNNEL not in offered:
            _check_ports(ports)
        response, socket = await _accept_websocket(request, supported)
        if response.ws_protocol == websocket.TUNNEL:
            await serve_forward(SpdyLink(TunnelPipe(socket)), dial)
        else:
            await serve_channels(socket, response.ws_protocol or "", ports, dial)
        await socket.close()
        return response
    version = _spdy_version(request, (portforward.PROTOCOL,))
    async with _taken_over(request, version) as link:
        await serve_forward(link, dial)
    return _Served(status=101)


def _check_ports(ports: Sequence[int]) -> None:
    """Where ports have channels, there must be some, and not more than channels."""
    most = min(map(websocket.most_ports, websocket.PORT_FORWARD_PROTOCOLS))
    if not ports:
        raise web.HTTPBadRequest(text="this dialect needs the ports in the query: ?ports=80\n")
    if len(ports) > most:
        raise web.HTTPBadRequest(text=f"{len(ports)} ports are asked for; one connection has channels for {most}\n")


class _Served(web.StreamResponse):
    """Says to aiohttp that the connection has been used up."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """The 101 was sent long ago."""
        del request
        self.force_close()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nobody to write to."""
        del data


def _asks_for_websocket(request: web.Request) -> bool:
    upgrade = request.headers.get("Upgrade", "").strip().lower()
    connection = request.headers.get("Connection", "").lower()
    if "upgrade" not in connection or upgrade not in {"websocket", SPDY.lower()}:
        text = f"unable to upgrade: send Connection: Upgrade and Upgrade: {SPDY} or websocket\n"
        raise web.HTTPBadRequest(text=text)
    return upgrade == "websocket"


def _offered_protocols(request: web.Request) -> list[str]:
    lines = request.headers.getall("Sec-WebSocket-Protocol", [])
    return [protocol.strip() for line in lines for protocol in line.split(",")]


async def _accept_websocket(request: web.Request, supported: Sequence[str]) -> tuple[web.WebSocketResponse, Socket]:
    offered = _offered_protocols(request)
    if offered and not any(protocol in supported for protocol in offered):
        named = ", ".join(protocol for protocol in supported if protocol)
        raise web.HTTPForbidden(text=f"none of the offered WebSocket protocols is spoken here; these are: {named}\n")
    response = web.WebSocketResponse(
        protocols=[protocol for protocol in supported if protocol],
        compress=False,
        max_msg_size=LARGEST_MESSAGE,
        timeout=CLOSING,
    )
    await response.prepare(request)
    return response, Socket(response, request.transport)


def _spdy_version(request: web.Request, supported: Sequence[str]) -> str:
    offered = request.headers.getall(remotecommand.VERSION_HEADER, [])
    if not offered:
        raise web.HTTPBadRequest(text=f"unable to upgrade: header {remotecommand.VERSION_HEADER} is required\n")
    version = remotecommand.negotiate(offered, supported)
    if version is None:
        named = ", ".join(supported)
        text = f"unable to upgrade: none of {', '.join(offered)} is spoken here; these are: {named}\n"
        raise web.HTTPForbidden(text=text, headers=[(remotecommand.ACCEPTED_HEADER, each) for each in supported])
    return version


@asynccontextmanager
async def _taken_over(request: web.Request, version: str) -> AsyncGenerator[SpdyLink]:
    """Answer the upgrade, take the transport from aiohttp, and hang up at the end."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    pipe = TransportPipe()
    # Taken before the 101 is sent: the client's first frame must not reach the HTTP parser.
    pipe.attach(transport)
    head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {SPDY}\r\n"
    await pipe.write(f"{head}{remotecommand.VERSION_HEADER}: {version}\r\n\r\n".encode())
    try:
        yield SpdyLink(pipe)
    finally:
        pipe.abort()
        # aiohttp counts its connections: tell it that this one is over.
        request.protocol.connection_lost(None)
