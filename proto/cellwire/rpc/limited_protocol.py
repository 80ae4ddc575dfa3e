"""An HTTP/2 connection of grpclib's under limits: a peer that wears us down is cut off (`budget`), a message of any
announced length is refused (`limits`), and what grpclib does not know (a push, an unknown frame) is no traceback.

And h2 writes each frame that it receives out for a logger that is not there.
"""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001  this file is where they are touched

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, cast

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.protocol import Connection, EventsProcessor, H2Protocol, _set_nodelay
from grpclib.protocol import Stream as WireStream
from h2.events import Event, RequestReceived, StreamEnded, UnknownFrameReceived
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes
from hyperframe.frame import Frame

from cellwire.rpc.arrived import Arrived
from cellwire.rpc.budget import PREFACE, Budget, Frames
from cellwire.rpc.carried import LEAD, LEAST, Octets, lead
from cellwire.rpc.data_frames import DataConnection
from cellwire.rpc.limits import (
    LOCAL_BUFFER,
    MessageLimits,
    watch_socket,
    widen_local,
)

log = logging.getLogger(__name__)
STEP = 4096
# Of a connection, by HTTP/2: settings do not change it.
FIRST_WINDOW = 65_535
# What one peer's frames may cost in one turn of the loop (`frames`): some milliseconds.
TURN = 100
OnLost = Callable[[Exception | None], None]


_named = object.__repr__


def _briefly(self: Frame) -> str:
    return f"{_named(self)} of {len(getattr(self, 'data', b''))} bytes"


Frame.__repr__ = _briefly


class ConnectionOverError(StreamTerminatedError, StreamClosedError):
    """A connection has ended, and nothing can be sent on it. The first is what whoever uses grpclib expects; grpclib
    itself expects the second where a call ends, and says nothing then.
    """

    def __init__(self, why: str) -> None:
        Exception.__init__(self, why)


class WriteReady(asyncio.Event):
    """Event of a connection that can be written to. One that has ended never can: who waits for that learns it.

    A cancellation would not tell: grpclib cancels a call whose peer resets it, and not again when the connection ends
    while the call waits for its last words to go out.
    """

    over = False

    def end(self) -> None:
        """The connection has ended."""
        self.over = True
        self.set()

    async def wait(self) -> Literal[True]:
        """Wait until the connection can be written to. Raises ConnectionOverError once it has ended."""
        if not self.over:
            await super().wait()
        if self.over:
            raise ConnectionOverError("Connection lost")
        return True


class LimitedProtocol(H2Protocol):
    """One HTTP/2 connection, either role, under limits. `on_lost` is called once, when the connection is no more."""

    def __init__(self, made: H2Protocol, limits: MessageLimits, on_lost: OnLost) -> None:
        super().__init__(made.handler, made.config, made.h2_config)
        self._limits = limits
        self._on_lost = on_lost
        self._budget = Budget(limits, time.monotonic())
        self._frames = Frames(0 if self.h2_config.client_side else PREFACE)
        self._waiting: deque[bytes | memoryview] = deque()
        self._turn: asyncio.TimerHandle | None = None
        self._held = False
        self.on_call: Callable[[], object] | None = None
        """Called when the peer has begun its first call."""
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
        wire = DataConnection(self.h2_config)
        self._announce(wire)
        self.connection = Connection(wire, cast("asyncio.Transport", transport), config=self.config)
        self._write_ready = self.connection.write_ready = WriteReady()
        self._write_ready.set()
        self.connection.flush()
        self.connection.initialize()
        self.processor = EventsProcessor(self.handler, self.connection)
        self.connection.create_stream = functools.partial(LimitedStream, self.connection, self._limits, self._keep)

    def _announce(self, wire: DataConnection) -> None:
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

    def data_received(self, data: bytes | memoryview) -> None:
        """As grpclib's; ends a connection whose peer has used up its budget, or sends what nobody asked for."""
        if self._limits.frames_rate is None:
            # Of a stranger a little at a time: what one read brings may be thousands of frames.
            self._feed(data, len(data) if self._limits.events is None else STEP)
            return
        self._waiting.append(data)
        if self._turn is None:
            self._take_turn()

    def taken_in(self, data: memoryview) -> None:
        """As `data_received`, of bytes that will be overwritten (`read_buffer`)."""
        self.data_received(bytes(data) if self._turn is not None else data)

    def _feed(self, data: bytes | memoryview, step: int) -> None:
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
                self._waiting.appendleft(bytes(data[end:]))
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

    def _received(self, data: bytes | memoryview) -> None:
        connection = self.connection
        try:
            events = connection.feed(cast("bytes", data))
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
        if self.on_call is not None and isinstance(event, RequestReceived):
            self.on_call()
            self.on_call = None
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
        self._write_ready.end()
        self.processor.close(why)
        transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake whoever waits on this connection."""
        if self._turn is not None:
            self._turn.cancel()
        self._write_ready.end()
        super().connection_lost(exc)
        self._on_lost(exc if isinstance(exc, Exception) else None)
        # With grpclib's own, which it takes apart itself: else all of this waits for a collection of garbage.
        vars(self.connection).pop("create_stream", None)


class Held(enum.Enum):
    """What a stream has given to its connection in this turn of the loop, and not to the transport yet."""

    NOTHING = 0
    HEADERS = 1
    MESSAGE = 2


class LimitedStream(WireStream):
    """A stream that looks at how much is asked of it before it keeps any of it, and tells `partial` what it keeps."""

    def __init__(
        self, connection: Connection, limits: MessageLimits, partial: Callable[[int], None], **which: Any
    ) -> None:
        self.longest = limits.message_bytes
        self._partial = partial
        self._holds = Held.NOTHING
        super().__init__(connection, connection._connection, connection._transport, **which)

    def init_stream(self, stream_id: int, connection: Connection) -> None:
        super().init_stream(stream_id, connection)
        self.buffer = cast("Any", Arrived(functools.partial(connection.ack, stream_id), self._partial))

    async def recv_data(self, size: int) -> bytes:
        if size > self.longest:
            sentence = f"message: its announced length of {size} bytes is above the limit of {self.longest}"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, sentence)
        try:
            if size < LEAST:
                return await super().recv_data(size)
            arrived = cast("Arrived", self.buffer)
            before = lead(await arrived.front(LEAD, size), size)
            if not before:
                return await arrived.read(size)
            return cast("bytes", Octets((await arrived.read(before), *await arrived.pieces(size - before))))
        except EOFError as error:
            raise GRPCError(Status.INTERNAL, f"message: it is cut off: {error}") from error

    async def send_headers(self, headers: Any, end_stream: bool = False) -> None:  # noqa: FBT001, FBT002 # grpclib's
        """As grpclib's; an answer's first headers go out with the short message that follows at once, and both with the
        last headers where these do, too: one write, for one read of the peer's.
        """
        if end_stream:
            await super().send_headers(headers, end_stream)
            return
        await self.connection.write_ready.wait()
        stream = cast("int", self.id)
        if stream not in self._h2_connection.streams:
            raise StreamClosedError(stream)
        self._h2_connection.send_headers(stream, headers)
        self.connection.headers_send_process()
        self._holds = Held.HEADERS
        asyncio.get_running_loop().call_soon(self._let_go)

    def _let_go(self) -> None:
        self._holds = Held.NOTHING
        if hasattr(self.connection, "_transport"):
            self.connection.flush()

    async def send_data(self, data: bytes | Octets, end_stream: bool = False) -> None:  # noqa: FBT001, FBT002 # grpclib's
        """As grpclib's; what is long goes out as it is, and what fits into a frame and the window at once."""
        wire, at = cast("DataConnection", self._h2_connection), 0
        stream = cast("int", self.id)
        if not isinstance(data, Octets):
            if len(data) < LEAST:
                await self.connection.write_ready.wait()
                window = wire.local_flow_control_window(stream)
                if max(len(data), 1) > min(window, wire.max_outbound_frame_size):
                    await super().send_data(data, end_stream)
                    return
                wire.send_data(stream, data, end_stream=end_stream)
                if self._holds is Held.HEADERS:
                    self._holds = Held.MESSAGE
                else:
                    self._transport.write(wire.data_to_send())
                self._sent(len(data))
                return
            data = Octets((data,))
        while at < len(data):
            await self.connection.write_ready.wait()
            # It can become negative.
            window = wire.local_flow_control_window(stream)
            if window <= 0:
                self.window_updated.clear()
                await self.window_updated.wait()
                continue
            part = data.cut(at, at + min(window, wire.max_outbound_frame_size))
            at += len(part)
            wire.send_data(stream, cast("bytes", part), end_stream=end_stream and at == len(data))
            self._transport.writelines(wire.parts_to_send())
            self._sent(len(part))

    def _sent(self, size: int) -> None:
        self.data_sent += size
        self.connection.data_sent += size
        self.connection.data_send_process()
