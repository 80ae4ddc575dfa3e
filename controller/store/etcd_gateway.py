"""The door to etcd: its JSON gateway over HTTP, any of several members, retried while it may help.

Bytes cross it in base64 and 64-bit numbers as text. What is asked here can be asked twice: see who calls.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec

from cellwire.faults import Fault, Kind

# One member's answer: an election of etcd's own takes a second or two.
ANSWER_SECONDS = 5.0
# All members together, before somebody is told.
PATIENCE = 15.0
PAUSE = 0.2
# gRPC's DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED and UNAVAILABLE: another member, or a moment later, may do.
PASSING = frozenset({4, 8, 10, 14})
MOST_CONNECTIONS = 32

Json = dict[str, Any]


class EtcdSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints of etcd, and credentials for it. `prefix` begins every key of ours."""

    endpoints: tuple[str, ...]
    prefix: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    lease: float = 15.0


def context(settings: EtcdSettings) -> ssl.SSLContext:
    """TLS as the settings want it. Raises Fault INVALID for files that cannot be used."""
    try:
        made = ssl.create_default_context(cafile=settings.ca)
        if settings.certificate is not None:
            made.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise Fault(Kind.INVALID, "store etcd", f"its TLS files cannot be used: {error}", "mend store.etcd") from error
    return made


def coded(text: str | bytes) -> str:
    """Bytes as they cross the gateway."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(text: object) -> bytes:
    """Bytes as they came over the gateway; what is empty is left out there."""
    return base64.b64decode(str(text or ""))


class Gateway:
    """Asks members in turn, from the one that answered last."""

    def __init__(self, session: aiohttp.ClientSession, endpoints: Sequence[str]) -> None:
        self._session = session
        self._endpoints = [each.rstrip("/") for each in endpoints]

    async def ask(
        self, path: str, body: Mapping[str, object], patience: float = PATIENCE, each: float = ANSWER_SECONDS
    ) -> tuple[Json, bool]:
        """The answer, and whether an earlier try may have been heard, too. One member is given `each` seconds. Raises
        Fault UNAVAILABLE or BROKEN.
        """
        cause, repeated = "", False
        try:
            async with asyncio.timeout(patience):
                while True:
                    try:
                        return await self._ask(self._endpoints[0], path, body, each), repeated
                    except (aiohttp.ClientError, TimeoutError, _Passing) as error:
                        cause = str(error) or type(error).__name__
                    repeated = True
                    self._endpoints.append(self._endpoints.pop(0))
                    await asyncio.sleep(PAUSE)
        except TimeoutError as error:
            members = ", ".join(self._endpoints)
            thing, mend = f"store etcd at {members}", "check that a majority of its members run and can be reached"
            raise Fault(Kind.UNAVAILABLE, thing, cause or f"no answer within {patience:.0f} s", mend) from error

    async def _ask(self, endpoint: str, path: str, body: Mapping[str, object], seconds: float) -> Json:
        limit = aiohttp.ClientTimeout(total=seconds)
        async with self._session.post(f"{endpoint}/v3/{path}", data=msgspec.json.encode(body), timeout=limit) as answer:
            raw = await answer.read()
            try:
                decoded = msgspec.json.decode(raw)
            except (msgspec.DecodeError, RecursionError):
                decoded = None
            if not isinstance(decoded, dict):
                raise _Passing(f"{endpoint} answered {answer.status} and no JSON")
            found = cast("Json", decoded)
            if answer.status == 200 and "error" not in found:
                return found
            _judge(endpoint, found)
        raise AssertionError


class _Passing(Exception):
    """A refusal that may pass by itself."""


def _judge(endpoint: str, found: Json) -> None:
    error: object = found.get("error")
    # A stream's error is a structure of its own.
    told = cast("Json", error) if isinstance(error, dict) else found
    code = int(told.get("code") or told.get("grpc_code") or 0)
    message = str(told.get("message") or error)
    if "space exceeded" in message:  # its alarm stays until somebody takes it off
        mend = "compact and defragment it, or raise its quota-backend-bytes; then `etcdctl alarm disarm`"
        raise Fault(Kind.UNAVAILABLE, f"store etcd at {endpoint}", message, mend)
    if code in PASSING:
        raise _Passing(f"{endpoint}: {message}")
    if code in {7, 16} or "auth" in message:
        raise Fault(Kind.DENIED, f"store etcd at {endpoint}", message, "give it a certificate that etcd lets in")
    raise Fault(Kind.BROKEN, f"store etcd at {endpoint}", message, reason="EtcdRefused")


@asynccontextmanager
async def connected(settings: EtcdSettings) -> AsyncGenerator[Gateway]:
    """The gateway to the members. Raises Fault INVALID for TLS files that cannot be used."""
    tls = context(settings) if any(each.startswith("https") for each in settings.endpoints) else False
    connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS, ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Gateway(session, settings.endpoints)


def compare(key: str, target: str, revision: int) -> Json:
    """A transaction's condition: that a record is at this revision."""
    field = "create_revision" if target == "CREATE" else "mod_revision"
    return {"key": coded(key), "target": target, "result": "EQUAL", field: str(revision)}


def ranged(key: str) -> Json:
    """A transaction's question for one record."""
    return {"requestRange": {"key": coded(key)}}


def first(answer: Json, response: int = 0) -> Json | None:
    """The record in one response of a transaction; None where there is none."""
    found = answer["responses"][response]["response_range"].get("kvs")
    return found[0] if found else None
