"""pods/proxy and services/proxy: a request of HTTP is passed on to a port of a pod, and the answer back, byte for byte.

The pod is asked by HTTP/1.0, so that its answer ends with the connection. It does not see by which right it was asked,
and nothing that it answers is shown by a browser as a page of this API's.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import NamedTuple

from aiohttp import web
from multidict import CIMultiDict

from cellwire.faults import Fault, Kind
from cellwire.rpc.carried import Piece
from controller.objects.fields import Json, bad_request
from controller.objects.kinds import SERVICES
from controller.objects.library import Library
from controller.pods.engine import Pods
from controller.services import endpoints

# For the beginning of an answer.
PATIENCE = 60.0
LONGEST_HEAD = 64 << 10
# Of one connection only, or a secret of whoever asks.
_OF_ONE_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "upgrade"})
_NOT_PASSED_ON = _OF_ONE_HOP | {
    *("content-length", "authorization", "proxy-authorization", "sec-websocket-protocol", "transfer-encoding", "host"),
}
_NOT_PASSED_BACK = _OF_ONE_HOP | {"proxy-authenticate", "set-cookie"}
_VISIBLE = r"[^\x00-\x08\x0a-\x1f\x7f]*"
_SOUND = re.compile(_VISIBLE)
_SAFE = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}


class _Head(NamedTuple):
    status: int
    reason: str
    headers: CIMultiDict[str]


async def proxy(request: web.Request, pods: Pods) -> web.StreamResponse:
    """Pass a request on. Raises Fault where the pod is not there, and where it answers no HTTP."""
    name, said = _parts(request.match_info["name"])
    pod = pods.find(request.match_info["namespace"], name)
    return await _passed_on(request, pods, pod, _port(pod, said))


async def proxy_service(request: web.Request, pods: Pods, library: Library) -> web.StreamResponse:
    """Pass a request on to one of the pods that answer for a Service. Raises Fault where there is none."""
    name, said = _parts(request.match_info["name"])
    namespace = request.match_info["namespace"]
    service = library.find(SERVICES, namespace, name)
    ready = _ready(service, said, pods.objects.list(namespace))
    if not ready:
        raise Fault(Kind.UNAVAILABLE, f'services "{name}"', "has no pod that is ready")
    pod, port = random.choice(ready)  # noqa: S311, no secret
    return await _passed_on(request, pods, pods.find(namespace, pod), port)


def _ready(service: Json, said: str, pods: Iterable[Json]) -> list[tuple[str, int]]:
    """The names of pods that answer for a Service, each with its number of the port that was said, or of the first."""
    ports: list[Json] = service["spec"].get("ports") or []
    wanted = [one for one in ports if said in {"", str(one["port"]), one.get("name")}]
    if not wanted:
        raise bad_request(f'services "{service["metadata"]["name"]}" has no port {said[:300]}')
    called = wanted[0].get("name") or ""
    return [
        (member.endpoint["targetRef"]["name"], number)
        for member in endpoints.members(service, pods)
        if member.endpoint["conditions"]["ready"]
        for name, _, number, _ in member.ports
        if name == called
    ]


async def _passed_on(request: web.Request, pods: Pods, pod: Json, port: int) -> web.StreamResponse:
    backend, name = pods.backend(pod), pod["metadata"]["name"]
    async with backend.port_forward(pods.run_of(pod).sandbox, port) as tunnel:
        body = await request.read()
        await tunnel.write(_asked(request, port, len(body)) + body)
        received = tunnel.received()
        try:
            async with asyncio.timeout(PATIENCE):
                head, rest = await _head(received, name)
        except TimeoutError as error:
            raise _broken(name, f"did not answer within {PATIENCE:g} s") from error
        response = web.StreamResponse(status=head.status, reason=head.reason, headers=head.headers)
        await response.prepare(request)
        with suppress(ConnectionError):  # the client has gone
            if request.method != "HEAD":
                await response.write(rest)
                async for data in received:
                    await response.write(data)
            await response.write_eof()
        return response


def _parts(said: str) -> tuple[str, str]:
    """Name and port, as Kubernetes writes them: NAME, NAME:PORT, SCHEME:NAME:PORT."""
    parts = said.split(":")
    match parts:
        case [name]:
            return name, ""
        case [name, port] | ["" | "http", name, port]:
            return name, port
        case [_, name, port]:
            raise bad_request(f"the proxy speaks HTTP without TLS: ask {name}:{port}, not {said[:300]}")
        case _:
            raise bad_request(f"{said[:300]!r} is no NAME, NAME:PORT or SCHEME:NAME:PORT")


def _port(pod: Json, said: str) -> int:
    """The port that was named by its number or name, or the first of the pod's."""
    ports: list[Json] = [one for container in pod["spec"]["containers"] for one in container.get("ports") or ()]
    if not said:
        return int(ports[0]["containerPort"]) if ports else 80
    if said.isascii() and said.isdecimal() and len(said) <= 5 and 0 < int(said) < 65536:
        return int(said)
    for one in ports:
        if one.get("name") == said:
            return int(one["containerPort"])
    raise bad_request(f'pods "{pod["metadata"]["name"]}" has no port {said}')


def _asked(request: web.Request, port: int, length: int) -> bytes:
    """The request as it is passed on, before its body of this length."""
    parts = request.rel_url.raw_path.split("/", 8)
    query = request.rel_url.raw_query_string
    path = "/" + (parts[8] if len(parts) > 8 else "") + (f"?{query}" if query else "")
    passed = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON]
    lines = [f"{request.method} {path} HTTP/1.0", f"Host: localhost:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in passed]
    if length:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def _head(received: AsyncIterator[Piece], pod: str) -> tuple[_Head, bytes]:
    """Status and headers, and what has come of the body with them."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) <= LONGEST_HEAD:
        more = await anext(received, b"")
        if not more:
            raise _broken(pod, "ended its answer before it had begun")
        data += more
    text, _, rest = data.partition(b"\r\n\r\n")
    if len(text) > LONGEST_HEAD:
        raise _broken(pod, "begins its answer with too many headers")
    first, *lines = text.decode("latin-1").split("\r\n")
    found = re.fullmatch(rf"HTTP/1\.[01] ([2-5]\d\d)(?: ({_VISIBLE}))?", first)
    if found is None:
        raise _broken(pod, "does not answer in HTTP")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        if (
            name.lower() not in _NOT_PASSED_BACK
            and re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name)
            and _SOUND.fullmatch(value)
        ):
            headers.add(name, value.strip())
    if "Transfer-Encoding" in headers:
        raise _broken(pod, "answers HTTP/1.0 in chunks")
    headers.update(_SAFE)
    return _Head(int(found[1]), found[2] or "", headers), rest


def _broken(pod: str, cause: str) -> Fault:
    return Fault(Kind.UNAVAILABLE, f'pods "{pod}"', cause, "see its logs")
