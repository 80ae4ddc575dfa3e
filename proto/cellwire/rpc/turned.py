"""Connections whose roles are turned: the cell dials and is the gRPC server, the controller accepts and is the client.

One TLS port takes three kinds, told apart by ALPN: "h2" for the short calls (Join, Renew) that an agent makes,
"chinampa-cell/1" for the one connection that stays, "chinampa-ca/1" for who wants the authority's certificate, which
it knows by its fingerprint. What of grpclib this needs beyond its public face is in `mended`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from cellwire.rpc import mended
from cellwire.rpc.giving import Gifts
from cellwire.rpc.limits import CELL, HANDSHAKE_SECONDS, SHUTDOWN_SECONDS, STRANGER_SECONDS, STRANGERS, Limits

log = logging.getLogger(__name__)

CALLS = "h2"
TURNED = "chinampa-cell/1"
AUTHORITY = "chinampa-ca/1"

Certificate = Mapping[str, Any]
"""A peer's certificate as `SSLSocket.getpeercert()` tells it; empty where it showed none."""


class TurnedChannel(mended.HeldChannel):
    """The controller's channel to a cell that dialled. `certificate` was checked by TLS, `address` is the peer's."""

    def __init__(self, limits: Limits, certificate: Certificate, address: str) -> None:
        super().__init__(limits)
        self.certificate = certificate
        self.address = address


def common_name(certificate: Certificate) -> str:
    """The CN of the certificate's subject; empty where there is none."""
    return _of_subject(certificate, "commonName")


def device(certificate: Certificate) -> str:
    """The machine that the certificate's subject names (X.520 serialNumber); empty where it names none."""
    return _of_subject(certificate, "serialNumber")


def _of_subject(certificate: Certificate, wanted: str) -> str:
    for part in cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ())):
        for name, value in part:
            if name == wanted:
                return value
    return ""


@asynccontextmanager
async def calling(host: str, port: int, context: ssl.SSLContext, name: str) -> AsyncGenerator[Channel]:
    """A channel for short calls to a controller, whose certificate must carry `name`."""
    channel = mended.MendedChannel(CELL, name=name, host=host, port=port, ssl=context)
    try:
        yield channel
    finally:
        channel.close()


async def serve_on(
    server: mended.MendedServer,
    host: str,
    port: int,
    context: ssl.SSLContext,
    name: str,
    on_connected: Callable[[], None],
) -> None:
    """Dial, and be the server on that connection until it ends. `name` is what the peer's certificate must carry.

    Returns when the peer ends it; raises Fault UNREACHABLE where nothing answers, DENIED where either side refuses
    the other's certificate. A cancelled caller ends the connection and its handlers.
    """
    thing = f"controller {host}:{port}"
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def lost(error: Exception | None) -> None:
        if not ended.done():
            ended.set_result(error)

    served = server.protocol(lost)
    transport: asyncio.Transport | None = None
    try:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS + 5):
                transport = await mended.connect(lambda: served, host, port, context, name)
        except ssl.SSLError as error:
            raise Fault(Kind.DENIED, thing, f"TLS failed: {error.reason or error}") from error
        except (OSError, TimeoutError) as error:
            raise Fault(Kind.UNREACHABLE, thing, f"no connection: {error or 'no answer in time'}") from error
        on_connected()
        if isinstance(error := await ended, ssl.SSLError):
            raise Fault(Kind.DENIED, thing, f"it refused our certificate: {error.reason or error}")
    finally:
        if transport is not None and not ended.done():
            transport.abort()
        await served.end()


class _Door(asyncio.Protocol):
    """A connection just accepted, its handshake done: hands it to the protocol that its ALPN asks for."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Choose, and step aside."""
        given = cast("asyncio.Transport", transport)
        inner = self._port.admit(given)
        if inner is None:
            given.close()
            return
        given.set_protocol(inner)
        inner.connection_made(given)


class Port:
    """An open port: what is connected to it, and the timers that cut strangers off."""

    def __init__(
        self,
        calls: mended.MendedServer,
        turned: Callable[[TurnedChannel], None],
        authority: bytes,
        gifts: Gifts,
    ) -> None:
        self._calls = calls
        self._turned = turned
        self._authority = authority
        self._gifts = gifts
        self._cells: set[TurnedChannel] = set()
        self._strangers: dict[mended.Served, asyncio.TimerHandle] = {}
        self._ended = False
        self.number = 0

    def admit(self, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """The protocol for a connection, or None: it is not wanted any longer."""
        if self._ended:  # its handshake outlasted the port
            return None
        session: ssl.SSLObject = transport.get_extra_info("ssl_object")
        asked = session.selected_alpn_protocol()
        if asked == AUTHORITY:
            transport.write(self._authority)
            return None
        certificate: Certificate = session.getpeercert() or {}
        peer: tuple[str, int] = transport.get_extra_info("peername") or ("?", 0)
        if asked == TURNED and common_name(certificate):
            return self._admit_cell(TurnedChannel(CELL, certificate, peer[0]))
        if asked == CALLS and len(self._strangers) < STRANGERS:
            return self._admit_stranger(transport)
        if giving := self._gifts.admit(asked):
            return giving
        log.warning("connection from %s refused: it asks for %s, certificate: %s", peer[0], asked, bool(certificate))
        return None

    def _admit_cell(self, channel: TurnedChannel) -> asyncio.Protocol:
        protocol = channel.protocol(lambda: self._cells.discard(channel))
        self._cells.add(channel)
        # Once the connection is made: what `turned` starts may call at once.
        asyncio.get_running_loop().call_soon(self._turned, channel)
        return protocol

    def _admit_stranger(self, transport: asyncio.Transport) -> asyncio.Protocol:
        def lost(error: Exception | None) -> None:
            del error
            timer = self._strangers.pop(served, None)
            if timer is not None:
                timer.cancel()

        served = self._calls.protocol(lost)
        self._strangers[served] = asyncio.get_running_loop().call_later(STRANGER_SECONDS, transport.abort)
        return served

    async def end(self) -> None:
        """Close every connection; take no other."""
        self._ended = True
        for channel in tuple(self._cells):
            channel.close()
        self._gifts.end()
        for served in tuple(self._strangers):
            await served.end()


@asynccontextmanager
async def accepting(
    host: str,
    port: int,
    context: ssl.SSLContext,
    *,
    calls: mended.MendedServer,
    turned: Callable[[TurnedChannel], None],
    authority: bytes,
    files: Mapping[str, Path] | None = None,
) -> AsyncGenerator[Port]:
    """Open the port. `calls` serves whoever connects with ALPN "h2"; `turned` is given a channel for each cell that
    dials with a certificate; `authority` is written to whoever asks for it; `files` are given to whoever
    asks for their ALPN word.
    """
    opened = Port(calls, turned, authority, Gifts(files or {}))
    server = await asyncio.get_running_loop().create_server(
        lambda: _Door(opened),
        host,
        port,
        reuse_address=True,
        ssl=context,
        backlog=1024,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=SHUTDOWN_SECONDS,
    )
    opened.number = server.sockets[0].getsockname()[1]
    try:
        yield opened
    finally:
        server.close()
        await opened.end()
