"""A connection on which the roles turn: the cell dials, and is then the gRPC server on what it dialled.

The port that accepts tells such connections from ordinary ones by ALPN. All of grpclib's private members that this
needs are used in this file, and tests/unit/rpc fails when upstream changes them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from grpclib.client import Channel, Handler
from grpclib.encoding.proto import ProtoCodec
from grpclib.protocol import H2Protocol
from grpclib.server import Server

from cellwire.rpc.limits import CONFIGURATION, LARGEST_JOIN, LARGEST_MESSAGE, guarded
from cellwire.rpc.status import FaultCodec

CALLS = "h2"
TURNED = "chinampa-cell/1"
# One connection of this kind is written the authority's certificate, which the peer knows by its fingerprint.
AUTHORITY = "chinampa-ca/1"


class TurnedChannel(Channel):
    """A channel over a connection that the other side dialled. It never dials itself."""

    def __init__(self) -> None:
        super().__init__(codec=ProtoCodec(), status_details_codec=FaultCodec(), config=CONFIGURATION)
        # A pseudo header that must not be empty; nobody looks at it.
        self._scheme = "https"
        self._authority = "cell"

    def protocol(self, lost: Callable[[], None]) -> H2Protocol:
        """The protocol for the accepted connection; `lost` is called when that ends."""
        protocol = H2Protocol(Handler(), self._config, self._h2_config)
        self._protocol = guarded(protocol, LARGEST_MESSAGE, lost)
        return self._protocol

    async def __connect__(self) -> H2Protocol:
        if not self._connected:
            raise ConnectionError("the cell is not connected")
        return self._protocol


class Fork(asyncio.Protocol):
    """The protocol of one accepted TLS connection: becomes what the peer asked for by ALPN.

    `calls` gives the protocol of an ordinary gRPC connection; `turned` that of a cell's, from its TLS state, or None
    to refuse it; `authority` is written to who asks for it.
    """

    def __init__(
        self, calls: Callable[[], H2Protocol], turned: Callable[[ssl.SSLObject], H2Protocol | None], authority: bytes
    ) -> None:
        self._calls = calls
        self._turned = turned
        self._authority = authority

    def connection_made(self, transport: Any) -> None:
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        chosen: H2Protocol | None = None
        match tls.selected_alpn_protocol():
            case "chinampa-cell/1":
                chosen = self._turned(tls)
            case "chinampa-ca/1":
                transport.write(self._authority)
            case "h2":
                chosen = guarded(self._calls(), LARGEST_JOIN)
            case _:
                pass
        if chosen is None:
            transport.close()
            return
        transport.set_protocol(chosen)
        chosen.connection_made(transport)


def calls_protocol(server: Server) -> Callable[[], H2Protocol]:
    """The factory of a server's protocols, for connections that another listener accepts."""
    return server._protocol_factory  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


async def serve_dialled(server: Server, host: str, port: int, context: ssl.SSLContext, name: str) -> asyncio.Event:
    """Dial and be the server on the connection; the event is set when it is lost. Raises OSError."""
    lost = asyncio.Event()
    protocol = guarded(calls_protocol(server)(), LARGEST_MESSAGE, lost.set)
    await asyncio.get_running_loop().create_connection(
        lambda: protocol, host, port, ssl=context, server_hostname=name, ssl_handshake_timeout=10
    )
    return lost
