"""grpclib 0.4.9 with its faults fenced in; only this file, `limited_protocol` and `settled_call` touch its private
members.

Channels and servers under limits (`limited_protocol`), whose calls settle (`settled_call`), and which can live on a
connection made by somebody else. tests/unit/rpc/test_grpclib_patches.py fails when a release of grpclib changes what is
relied on here.
"""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  this file is where they are touched

from __future__ import annotations

import asyncio
import dataclasses
import functools
import ssl
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, cast

from grpclib.client import Channel, Stream
from grpclib.config import Configuration
from grpclib.const import Cardinality
from grpclib.const import Handler as GrpcMethod
from grpclib.metadata import Deadline
from grpclib.protocol import H2Protocol, Peer
from grpclib.server import Handler as CallHandler
from grpclib.server import Server
from grpclib.server import Stream as ServerStream
from multidict import MultiDict

from cellwire.faults import Fault, Kind
from cellwire.rpc.limited_protocol import LimitedProtocol, OnLost
from cellwire.rpc.limits import HANDSHAKE_SECONDS, SHUTDOWN_SECONDS, MessageLimits
from cellwire.rpc.read_buffer import BufferedReading
from cellwire.rpc.settled_call import SettledCall
from cellwire.rpc.status import FaultCodec
from cellwire.rpc.written import Codec
from cellwire.version import VERSION

if TYPE_CHECKING:
    from grpclib._typing import IServable


class MendedChannel(Channel):
    """A channel under limits whose calls settle. Dials as grpclib's does; told addresses, path and TLS the same way.

    `by_method` tells that each method has a longest answer of its own.
    """

    by_method = False

    def __init__(self, limits: MessageLimits, *, name: str = "", **where: Any) -> None:
        config = _configuration(limits, name)
        super().__init__(codec=Codec(), status_details_codec=FaultCodec(), config=config, **where)
        self.limits = limits

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Any],
        reply_type: type[Any],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: Any = None,
    ) -> Stream[Any, Any]:
        """As Channel's, with a call that settles."""
        if timeout is not None:
            soon = Deadline.from_timeout(timeout)
            deadline = soon if deadline is None else min(soon, deadline)
        return SettledCall(
            self,
            name,
            cast("Any", MultiDict(metadata or ())),
            cardinality,
            request_type,
            reply_type,
            codec=self._codec,
            status_details_codec=self._status_details_codec,
            dispatch=self.__dispatch__,
            deadline=deadline,
        )

    async def __connect__(self) -> H2Protocol:
        """As Channel's. Raises ConnectionResetError where the connection has ended before there is a call on it."""
        return _open(await super().__connect__())

    def _protocol_factory(self) -> LimitedProtocol:
        return LimitedProtocol(super()._protocol_factory(), self.limits, self._lost)

    def _lost(self, error: Exception | None) -> None:
        """The connection is no more; the next call dials anew."""
        del error
        if self._protocol is not None and not self._connected:
            del self._protocol


def _open(protocol: H2Protocol) -> H2Protocol:
    """The protocol of a connection on which a call can begin: one that is closed has not even a transport any more."""
    if protocol.processor.connection.is_closing():
        raise ConnectionResetError("the connection has ended")
    return protocol


class HeldChannel(MendedChannel):
    """A channel on the one connection that it was given; never dials. `protocol()` is for that connection."""

    by_method = True

    def __init__(self, limits: MessageLimits) -> None:
        super().__init__(limits)
        self._scheme = "https"
        self._dead = False
        self.untrue = ""
        """Why the peer is not believed any more; "" where it is."""
        self._told: list[Callable[[], object]] = []

    def protocol(self, on_lost: Callable[[], object]) -> asyncio.BufferedProtocol:
        """The protocol to set on the connection; `on_lost` is called when that has ended."""
        self._told.append(on_lost)
        protocol = self._protocol_factory()
        protocol.on_over = self._over
        self._protocol = protocol
        return BufferedReading(protocol)

    async def __connect__(self) -> H2Protocol:
        if self._dead or not self._connected:
            raise ConnectionResetError("the cell's connection has ended")
        return _open(self._protocol)

    @property
    def lost(self) -> bool:
        """Whether the connection is no more."""
        return self._dead

    def close(self) -> None:
        """End the connection; calls under way break."""
        self._dead = True
        super().close()

    def on_lost(self, call: Callable[[], object]) -> None:
        """Have this called, too, when the connection has ended."""
        self._told.append(call)

    def distrust(self, why: str) -> None:
        """End the connection, since its peer has said what nobody honest says."""
        self._over(why)
        self.close()

    def _over(self, why: str) -> None:
        self.untrue = self.untrue or why

    def _lost(self, error: Exception | None) -> None:
        super()._lost(error)
        self._dead = True
        while self._told:
            self._told.pop()()


class MendedServer(Server):
    """A server under limits. `details` where the other end is ours too, and faults travel in parts."""

    def __init__(self, services: Collection[IServable], limits: MessageLimits, *, details: bool) -> None:
        codec = FaultCodec() if details else None
        super().__init__(services, codec=Codec(), status_details_codec=codec, config=_configuration(limits))
        self._mapping = _Methods(self._mapping)
        self._limits = limits

    def protocol(self, on_lost: OnLost) -> ServerConnection:
        """The protocol of one more connection, that somebody else makes; `on_lost` is called when it has ended."""
        return ServerConnection(super()._protocol_factory(), self._limits, on_lost)

    def _protocol_factory(self) -> H2Protocol:
        return self.protocol(lambda _: None)


class _Methods(dict[str, GrpcMethod]):
    """The methods of a server. Grpclib refuses any other by headers in which other libraries see no gRPC, so that a
    newer client, which would do without, takes the server for broken.
    """

    def get(self, name: str, default: Any = None, /) -> Any:
        return super().get(name, default) or GrpcMethod(
            functools.partial(_unknown, name), Cardinality.UNARY_UNARY, Any, Any
        )


async def _unknown(name: str, stream: ServerStream[Any, Any]) -> None:
    del stream
    cause = f"version {VERSION} does not know this call"
    raise Fault(Kind.UNSUPPORTED, name.rpartition("/")[2], cause, "run one version on both sides")


class ServerConnection(LimitedProtocol):
    """One connection on which we are the server."""

    async def end(self) -> None:
        """Close it, and wait for its handlers to have ended."""
        if hasattr(self, "processor"):
            self.processor.close()
        handler = self.handler
        if isinstance(handler, CallHandler):
            await handler.wait_closed()


def ping_each(stream: ServerStream[Any, Any], seconds: float) -> None:
    """From its next ping on, ping the peer of this call's connection so often."""
    connection = stream._stream.connection
    connection._config = dataclasses.replace(
        connection._config, _keepalive_time=seconds, _http2_min_sent_ping_interval_without_data=seconds
    )


def certificate_shown(peer: Peer) -> bytes:
    """The certificate of the other end in DER, checked by TLS; empty where it showed none."""
    session: ssl.SSLObject | None = peer._transport.get_extra_info("ssl_object")
    return (session.getpeercert(binary_form=True) or b"") if session is not None else b""


async def connect(
    protocol: Callable[[], asyncio.BaseProtocol],
    host: str,
    port: int,
    context: ssl.SSLContext,
    name: str,
    handshake: float = HANDSHAKE_SECONDS,
) -> asyncio.Transport:
    """Dial, with our times for the handshake and the goodbye of TLS."""
    transport, _ = await asyncio.get_running_loop().create_connection(
        protocol,
        host,
        port,
        ssl=context,
        server_hostname=name,
        ssl_handshake_timeout=handshake,
        ssl_shutdown_timeout=SHUTDOWN_SECONDS,
    )
    return transport


class _Completed(Configuration):
    """Grpclib completes a configuration for each channel, by way of all its fields: here it is done once."""

    def __for_client__(self) -> Configuration:
        return _for_client(self)


@functools.lru_cache
def _for_client(own: _Completed) -> Configuration:
    return super(_Completed, own).__for_client__()


@functools.lru_cache
def _configuration(limits: MessageLimits, name: str = "") -> Configuration:
    """These limits as grpclib takes them. `name` is looked for in the peer's certificate in place of the host."""
    return _Completed(
        _keepalive_time=limits.ping_after,
        _keepalive_timeout=limits.ping_wait,
        _keepalive_permit_without_calls=True,
        _http2_max_pings_without_data=0,
        _http2_min_sent_ping_interval_without_data=limits.ping_after or 1.0,
        http2_connection_window_size=limits.connection_window,
        http2_stream_window_size=limits.stream_window,
        ssl_target_name_override=name or None,
    )
