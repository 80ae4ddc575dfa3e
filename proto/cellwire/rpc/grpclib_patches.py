"""grpclib 0.4.9 with its faults fenced in: the one file that touches its private members.

Mended are: messages of any announced length (refused, see `limits`); the request to cancel that a broken or expired
leaves on its task (taken back, exactly); channels and servers can live on a connection made by somebody else; a peer
that wears us down is cut off (`budget`), and what grpclib does not know (a push, an unknown frame) is no traceback.
And h2 writes each frame that it receives out in hex for a logger that is not there.
tests/unit/rpc/test_mended.py fails when a release of grpclib changes what is relied on here.
"""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  this file is where they are touched

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from grpclib.client import Channel, Stream
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline
from grpclib.protocol import Connection, EventsProcessor, H2Protocol, Peer, _set_nodelay
from grpclib.protocol import Stream as WireStream
from grpclib.server import Handler as CallHandler
from grpclib.server import Server
from grpclib.server import Stream as ServerStream
from grpclib.utils import DeadlineWrapper, Wrapper
from h2.connection import H2Connection
from h2.events import Event, StreamEnded, UnknownFrameReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame
from multidict import MultiDict

from cellwire.rpc.arrived import Arrived
from cellwire.rpc.budget import Budget
from cellwire.rpc.configuration import configuration
from cellwire.rpc.frames import PREFACE, Frames
from cellwire.rpc.limits import (
    HANDSHAKE_SECONDS,
    LOCAL_BUFFER,
    LONGEST,
    SHUTDOWN_SECONDS,
    MessageLimits,
    watch_socket,
    widen_local,
)
from cellwire.rpc.status import FaultCodec
from cellwire.rpc.written import Codec

if TYPE_CHECKING:
    from grpclib._typing import IServable

log = logging.getLogger(__name__)
STEP = 4096
# Of a connection, by HTTP/2: settings do not change it.
FIRST_WINDOW = 65_535
# What one peer's frames may cost in one turn of the loop (`frames`): some milliseconds.
TURN = 100
OnLost = Callable[[Exception | None], None]


def _length_only(self: DataFrame) -> str:
    return f"{len(self.data)} bytes"


DataFrame._body_repr = _length_only


class LimitedProtocol(H2Protocol):
    """One HTTP/2 connection, either role, under limits. `on_lost` is called once, when the connection is no more."""

    def __init__(self, made: H2Protocol, limits: MessageLimits, on_lost: OnLost) -> None:
        super().__init__(made.handler, made.config, made.h2_config)
        self._limits = limits
        self._on_lost = on_lost
        self._budget = Budget(limits, time.monotonic())
        self._frames = Frames(0 if self.h2_config.client_side else PREFACE)
        self._waiting: deque[bytes] = deque()
        self._turn: asyncio.TimerHandle | None = None
        self._held = False
        self.on_request: Callable[[], object] | None = None
        """Called when the whole of a first request has come."""
        self.on_over: Callable[[str], object] | None = None
        """Called when the peer is cut off, with the reason."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Announce the limits that HTTP/2 knows, and stand before each message for the one that it does not.

        In place of grpclib's, which tells in three frames, each to be acknowledged, what fits in one.
        """
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            _set_nodelay(sock)
            watch_socket(sock)
            if widen_local(sock):
                cast("asyncio.WriteTransport", transport).set_write_buffer_limits(high=LOCAL_BUFFER)
        wire = H2Connection(config=self.h2_config)
        self._announce(wire)
        self.connection = Connection(wire, cast("asyncio.Transport", transport), config=self.config)
        self.connection.flush()
        self.connection.initialize()
        self.processor = EventsProcessor(self.handler, self.connection)
        self.connection.create_stream = functools.partial(_LimitedStream, self.connection, self._limits, self._keep)

    def _announce(self, wire: H2Connection) -> None:
        wire.local_settings.update(
            {
                SettingCodes.INITIAL_WINDOW_SIZE: self._limits.stream_window,
                SettingCodes.MAX_FRAME_SIZE: self._limits.frame_bytes,
                SettingCodes.MAX_CONCURRENT_STREAMS: self._limits.streams,
            }
        )
        # What the peer sends before it knows them is refused only where it opens more streams than it will be allowed.
        wire.local_settings.acknowledge()
        wire.max_inbound_frame_size = self._limits.frame_bytes
        wire.initiate_connection()
        if more := self._limits.connection_window - FIRST_WINDOW:
            wire.increment_flow_control_window(more)

    def data_received(self, data: bytes) -> None:
        """As grpclib's; ends a connection whose peer has used up its budget, or sends what nobody asked for."""
        if self._limits.frames_rate is None:
            # Of a stranger a little at a time: what one read brings may be thousands of frames.
            self._feed(data, len(data) if self._limits.events is None else STEP)
            return
        self._waiting.append(data)
        if self._turn is None:
            self._take_turn()

    def _feed(self, data: bytes, step: int) -> None:
        for begin in range(0, len(data), step):
            if not hasattr(self.connection, "_transport"):  # it was closed
                return
            self._received(data[begin : begin + step])

    def _take_turn(self) -> None:
        """Take in of what has come as much as others can wait for; the rest later, and no more is read until then."""
        self._turn = None
        cost = 0
        while self._waiting and cost < TURN and hasattr(self.connection, "_transport"):
            data = self._waiting.popleft()
            end, more = self._frames.upto(data, 0, TURN - cost)
            cost += more
            if end < len(data):
                self._waiting.appendleft(data[end:])
            self._received(data if end == len(data) else data[:end])
        pause = self._budget.pause(cost, time.monotonic())
        if not hasattr(self.connection, "_transport"):
            self._waiting.clear()
            return
        if self._waiting:
            if not self._held:
                self.connection._transport.pause_reading()
            self._held = True
            self._turn = asyncio.get_running_loop().call_later(pause, self._take_turn)
        elif self._held:
            self._held = False
            self.connection._transport.resume_reading()

    def _received(self, data: bytes) -> None:
        connection = self.connection
        try:
            events = connection.feed(data)
        except (ProtocolError, ValueError, LookupError) as error:
            # h2 trusts that headers are ASCII.
            log.debug("protocol error: %s", error)
            self._over("it broke the protocol")
            return
        connection.flush()
        unsent = connection._transport.get_write_buffer_size()
        if why := self._budget.spend(len(data), events, unsent, time.monotonic()):
            self._over(why)
            return
        for event in events:
            if not hasattr(connection, "_transport"):
                return
            self._heed(event)
        if hasattr(connection, "_transport"):
            connection.flush()

    def _heed(self, event: Event) -> None:
        if isinstance(event, UnknownFrameReceived):
            return
        if event.__class__ not in self.processor.processors:
            self._over(f"it sent what nobody asked for: {type(event).__name__}")
            return
        self.processor.process(event)
        if isinstance(event, StreamEnded) and self.on_request is not None:
            self.on_request()
            self.on_request = None

    def _keep(self, more: int) -> None:
        if why := self._budget.keep(more):
            # Later: it is a call of this connection that has found it out.
            asyncio.get_running_loop().call_soon(self._over, why)

    def _over(self, why: str) -> None:
        """End the connection at once: what waits to be sent to such a peer would never be read."""
        transport = getattr(self.connection, "_transport", None)
        if transport is None:  # it was closed
            return
        log.info("a connection is ended: %s", why)
        if self.on_over is not None:
            self.on_over(why)
        self.processor.close(why)
        transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake whoever waits on this connection."""
        if self._turn is not None:
            self._turn.cancel()
        super().connection_lost(exc)
        self._on_lost(exc if isinstance(exc, Exception) else None)


class _LimitedStream(WireStream):
    """A stream that looks at how much is asked of it before it keeps any of it, and tells `partial` what it keeps."""

    def __init__(
        self, connection: Connection, limits: MessageLimits, partial: Callable[[int], None], **which: Any
    ) -> None:
        self.longest = limits.message_bytes
        self._partial = partial
        super().__init__(connection, connection._connection, connection._transport, **which)

    def init_stream(self, stream_id: int, connection: Connection) -> None:
        super().init_stream(stream_id, connection)
        self.buffer = cast("Any", Arrived(functools.partial(connection.ack, stream_id), self._partial))

    async def recv_data(self, size: int) -> bytes:
        if size > self.longest:
            sentence = f"message: its announced length of {size} bytes is above the limit of {self.longest}"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, sentence)
        try:
            return await super().recv_data(size)
        except EOFError as error:
            raise GRPCError(Status.INTERNAL, f"message: it is cut off: {error}") from error


class _Settled(Wrapper):
    """Wakes the tasks inside it with an error, and takes back exactly the requests to cancel that it made."""

    def __init__(self) -> None:
        super().__init__()
        self._entered: dict[asyncio.Task[Any], int] = {}
        self._woken: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> None:
        super().__enter__()
        task = _current()
        self._entered[task] = task.cancelling()

    def cancel(self, error: Exception) -> None:
        if self._error is None:  # a connection is told of its end more than once
            self._woken = set(self._tasks)
            super().cancel(error)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        task = _current()
        before = self._entered.pop(task, task.cancelling())
        if task in self._woken:
            self._woken.discard(task)
            if task.uncancel() > before:
                self._tasks.discard(task)
                raise asyncio.CancelledError from None
        super().__exit__(exc_type, exc_val, exc_tb)


class _SettledDeadline(_Settled, DeadlineWrapper):
    """The same with a deadline."""


def _current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a gRPC call needs a task")
    return task


@contextmanager
def _understood() -> Generator[None]:
    """Grpclib trusts who answers: what is no gRPC makes it stumble, in as many ways as it has assumptions."""
    try:
        yield
    except (AssertionError, NotImplementedError, LookupError, ValueError, RecursionError) as error:
        sentence = f"the answer: it is no gRPC ({type(error).__name__}: {error})"
        raise GRPCError(Status.INTERNAL, sentence) from error


class _SettledCall(Stream[Any, Any]):
    """A call that leaves its task's cancel count as it was."""

    async def recv_initial_metadata(self) -> None:
        """As Stream's. Raises GRPCError for what is none."""
        with _understood():
            await super().recv_initial_metadata()

    async def recv_message(self) -> Any:
        """As Stream's. Raises GRPCError for what is none."""
        with _understood():
            return await super().recv_message()

    async def recv_trailing_metadata(self) -> None:
        """As Stream's. Raises GRPCError for what is none."""
        with _understood():
            await super().recv_trailing_metadata()

    async def send_request(self, *, end: bool = False) -> None:
        """As Stream's; the answers of some methods may not be as long as those of others."""
        await super().send_request(end=end)
        longest = LONGEST.get(self._method_name)
        stream = cast("_LimitedStream", self._stream)
        if longest is not None and cast("MendedChannel", self._channel).by_method:
            stream.longest = longest

    async def __aenter__(self) -> Stream[Any, Any]:
        if self._deadline is None:
            self._wrapper = _Settled()
        else:
            wrapper = _SettledDeadline()
            self._wrapper = wrapper
            self._wrapper_ctx = wrapper.start(self._deadline)
            self._wrapper_ctx.__enter__()
        return self


class MendedChannel(Channel):
    """A channel under limits whose calls settle. Dials as grpclib's does; told addresses, path and TLS the same way.

    `by_method` tells that each method has a longest answer of its own.
    """

    by_method = False

    def __init__(self, limits: MessageLimits, *, name: str = "", **where: Any) -> None:
        config = configuration(limits, name)
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
        return _SettledCall(
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

    def _protocol_factory(self) -> LimitedProtocol:
        return LimitedProtocol(super()._protocol_factory(), self.limits, self._lost)

    def _lost(self, error: Exception | None) -> None:
        """The connection is no more; the next call dials anew."""
        del error
        if self._protocol is not None and not self._connected:
            del self._protocol


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

    def protocol(self, on_lost: Callable[[], object]) -> asyncio.Protocol:
        """The protocol to set on the connection; `on_lost` is called when that has ended."""
        self._told.append(on_lost)
        protocol = self._protocol_factory()
        protocol.on_over = self._over
        self._protocol = protocol
        return protocol

    async def __connect__(self) -> H2Protocol:
        if self._dead or not self._connected:
            raise ConnectionResetError("the cell's connection has ended")
        return self._protocol

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
        super().__init__(services, codec=Codec(), status_details_codec=codec, config=configuration(limits))
        self._limits = limits

    def protocol(self, on_lost: OnLost) -> ServerConnection:
        """The protocol of one more connection, that somebody else makes; `on_lost` is called when it has ended."""
        return ServerConnection(super()._protocol_factory(), self._limits, on_lost)

    def _protocol_factory(self) -> H2Protocol:
        return self.protocol(lambda _: None)


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
    protocol: Callable[[], asyncio.Protocol], host: str, port: int, context: ssl.SSLContext, name: str
) -> asyncio.Transport:
    """Dial, with our times for the handshake and the goodbye of TLS."""
    transport, _ = await asyncio.get_running_loop().create_connection(
        protocol,
        host,
        port,
        ssl=context,
        server_hostname=name,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=SHUTDOWN_SECONDS,
    )
    return transport
