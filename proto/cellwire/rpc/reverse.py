"""Connections whose roles are turned: the cell dials and is the gRPC server, the controller accepts and is the client.

One TLS port (`door`) takes four kinds, told apart by ALPN: "h2" for the short calls (Join, Renew) that an agent makes,
"chinampa-cell/1" for the one connection that stays, "chinampa-worker/1" for the calls of a worker's shim, and
"chinampa-ca/1" for who wants the authority's certificate, which it knows by its fingerprint. What of grpclib this
needs beyond its public face is in `mended`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from cellwire.rpc import grpclib_patches
from cellwire.rpc.limits import CELL, DIAL_SECONDS, MessageLimits
from cellwire.rpc.read_buffer import BufferedReading

CALLS = "h2"
TURNED = "chinampa-cell/1"
AUTHORITY = "chinampa-ca/1"
WORKER = "chinampa-worker/1"
# No cell is called so.
_WORKER_PREFIX = "worker:"

Certificate = Mapping[str, Any]
"""A peer's certificate as `SSLSocket.getpeercert()` tells it; empty where it showed none."""


class TurnedChannel(grpclib_patches.HeldChannel):
    """The controller's channel to a cell that dialled. `certificate` was checked by TLS, `address` is the peer's."""

    def __init__(self, limits: MessageLimits, certificate: Certificate, address: str) -> None:
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


def worker_subject(worker: str) -> str:
    """The CN of a worker's certificate."""
    return f"{_WORKER_PREFIX}{worker}"


def worker_host(worker: str) -> str:
    """The name that a worker's certificate carries as a server's, by which its cells know it."""
    return f"{worker}.worker.chinampa"


def worker_of(certificate: Certificate) -> str:
    """The worker that a certificate names; empty where it names none."""
    name = common_name(certificate)
    return name.removeprefix(_WORKER_PREFIX) if name.startswith(_WORKER_PREFIX) else ""


@asynccontextmanager
async def calling(host: str, port: int, context: ssl.SSLContext, name: str) -> AsyncGenerator[Channel]:
    """A channel for short calls to a controller, whose certificate must carry `name`."""
    channel = grpclib_patches.MendedChannel(CELL, name=name, host=host, port=port, ssl=context)
    try:
        yield channel
    finally:
        channel.close()


async def serve_on(
    server: grpclib_patches.MendedServer,
    host: str,
    port: int,
    context: ssl.SSLContext,
    name: str,
    on_connected: Callable[[], None] | None = None,
    on_call: Callable[[], None] | None = None,
) -> None:
    """Dial, and be the server on that connection until it ends. `name` is what the peer's certificate must carry.

    A peer may refuse us once it is connected; when it makes its first call, `on_call`, it has taken us.

    Returns when the peer ends it; raises Fault UNREACHABLE where nothing answers, DENIED where either side refuses
    the other's certificate. A cancelled caller ends the connection and its handlers.
    """
    thing = f"{name} at {host}:{port}"
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def lost(error: Exception | None) -> None:
        if not ended.done():
            ended.set_result(error)

    served = server.protocol(lost)
    served.on_call = on_call
    transport: asyncio.Transport | None = None
    try:
        try:
            async with asyncio.timeout(DIAL_SECONDS + 5):
                transport = await grpclib_patches.connect(
                    lambda: BufferedReading(served), host, port, context, name, DIAL_SECONDS
                )
        except ssl.SSLError as error:
            raise Fault(Kind.DENIED, thing, f"TLS failed: {error.reason or error}") from error
        except (OSError, TimeoutError) as error:
            raise Fault(Kind.UNREACHABLE, thing, f"no connection: {error or 'no answer in time'}") from error
        if on_connected is not None:
            on_connected()
        if isinstance(error := await ended, ssl.SSLError):
            raise Fault(Kind.DENIED, thing, f"it refused our certificate: {error.reason or error}")
    finally:
        if transport is not None and not ended.done():
            transport.abort()
        await served.end()
