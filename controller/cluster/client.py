"""The one door to the API server: a list, a watch, an event. Over aiohttp, which the controller has anyway.

Clients of Kubernetes that are kept (kubernetes_asyncio, kr8s, lightkube) bring a model of every kind, 20 to 60 MB, and
leave to us what is hard: to resume, to take bookmarks, and to list anew when the history is gone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from cellwire.faults import Fault, Kind
from controller.cluster import kubeconfig
from controller.cluster.kubeconfig import Access, BearerToken, Json

SECONDS = 30.0
# The server ends a watch by itself; one that says nothing for this much longer is dead.
WATCH_SECONDS = 300
SILENCE_SECONDS = 330.0
LARGEST_LINE = 16 << 20
EXPIRED = "Expired"
_KINDS = {401: Kind.DENIED, 403: Kind.DENIED, 404: Kind.NOT_FOUND, 409: Kind.EXISTS, 429: Kind.UNAVAILABLE}


class ApiClient:
    """Requests to one API server."""

    def __init__(self, access: Access, session: aiohttp.ClientSession) -> None:
        self._access = access
        self._session = session
        self._tokens = BearerToken(access)
        self._tls = kubeconfig.context(access)

    async def get(self, path: str, **parameters: str) -> Json:
        """An object or a list. Raises Fault."""
        async with self._asked("GET", path, parameters, SECONDS) as response:
            return await _decoded(response, path)

    async def post(self, path: str, body: Json) -> Json:
        """Create an object. Raises Fault."""
        async with self._asked("POST", path, {}, SECONDS, body) as response:
            return await _decoded(response, path)

    async def patch(self, path: str, body: Json) -> Json:
        """Change an object by a merge patch. Raises Fault."""
        async with self._asked("PATCH", path, {}, SECONDS, body) as response:
            return await _decoded(response, path)

    async def watch(self, path: str, parameters: Mapping[str, str]) -> AsyncGenerator[Json]:
        """Events of a watch until the server ends it. Raises Fault, with reason Expired where the history is gone."""
        wanted = {**parameters, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        async with self._asked("GET", path, wanted, SILENCE_SECONDS) as response:
            rest = b""
            try:
                async for part in response.content.iter_any():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield _event(line, path)
                    if len(rest) > LARGEST_LINE:
                        raise Fault(Kind.BROKEN, f"watch of {path}", f"an event is longer than {LARGEST_LINE} bytes")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _unreachable(self._access.server, error) from error

    @asynccontextmanager
    async def _asked(
        self, verb: str, path: str, parameters: Mapping[str, str], silence: float, body: Json | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        token = await self._tokens.now()
        headers = {"Accept": "application/json", "User-Agent": "chinampa"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            kind = "application/merge-patch+json" if verb == "PATCH" else "application/json"
            headers["Content-Type"] = kind
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence)
        try:
            response = await self._session.request(
                verb, self._access.server + path, params=parameters, headers=headers, timeout=limits,
                data=msgspec.json.encode(body) if body is not None else None,
                ssl=self._tls if self._tls is not None else False, server_hostname=self._access.server_name or None,
            )  # fmt: skip
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self._access.server, error) from error
        async with response:
            if response.status >= 400:
                raise await self._refusal(response, path)
            yield response

    async def _refusal(self, response: aiohttp.ClientResponse, path: str) -> Fault:
        if response.status == 401:
            self._tokens.refused()
        try:
            said: Any = msgspec.json.decode(await response.read())
            words = str(said.get("message") or response.reason)[:500]
        except (msgspec.DecodeError, RecursionError, AttributeError, aiohttp.ClientError, TimeoutError, OSError):
            words = f"it answered {response.status}"
        if response.status == 410:
            return Fault(Kind.PRECONDITION, path, words, reason=EXPIRED)
        mend = "give the node's user the right: see docs/cluster.md" if response.status == 403 else ""
        return Fault(_KINDS.get(response.status, Kind.UNAVAILABLE), f"API server: {path}", words, mend)


async def _decoded(response: aiohttp.ClientResponse, path: str) -> Json:
    try:
        return msgspec.json.decode(await response.read(), type=Json)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Fault(Kind.BROKEN, f"API server: {path}", f"its answer is no JSON: {error}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Fault(Kind.UNAVAILABLE, f"API server: {path}", str(error) or "it broke off") from error


def _event(line: bytes, path: str) -> Json:
    try:
        event = msgspec.json.decode(line, type=Json)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Fault(Kind.BROKEN, f"watch of {path}", f"an event is no JSON: {error}") from error
    if event.get("type") == "ERROR":
        status: Json = event.get("object") or {}
        reason = EXPIRED if status.get("code") == 410 or status.get("reason") in {"Expired", "Gone"} else ""
        raise Fault(Kind.PRECONDITION, f"watch of {path}", str(status.get("message"))[:500], reason=reason)
    return event


def _unreachable(server: str, error: Exception) -> Fault:
    # aiohttp's own sentence shows the TLS context as an object.
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return Fault(Kind.UNAVAILABLE, f"API server {server}", str(cause) or type(error).__name__)


@asynccontextmanager
async def connected(access: Access) -> AsyncGenerator[ApiClient]:
    """A client, with connections of its own. Raises Fault."""
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        yield ApiClient(access, session)
