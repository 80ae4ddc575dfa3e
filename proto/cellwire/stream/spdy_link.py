"""The streams of one SPDY connection: frames of the pipe to inboxes, writes of the streams to frames.

The server's end: the client opens the streams. A stream whose inbox is full holds the whole connection, as there is no
flow control in SPDY as it is spoken here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from cellwire.rpc.carried import Piece
from cellwire.stream import spdy
from cellwire.stream.inbox import LIMIT, Inbox
from cellwire.stream.pipe import Pipe

log = logging.getLogger(__name__)

MOST_STREAMS = 2000
"""Streams open at one time on one connection: a thousand forwarded connections."""
SHARE = 4 << 20
"""Bytes that the streams of one connection share between them, each its part of those open when it came."""
_LEAST, _MOST = 4096, 512 * 1024
"""Bytes that any stream may keep, and that one may keep which came first."""
_FRAME = 1 << 20
"""Bytes of payload in the largest frame that we send."""


class Stream:
    """One stream: bytes from the client in `inbox`, bytes to it with `write`."""

    def __init__(self, link: SpdyLink, number: int, headers: Mapping[str, str], room: int = LIMIT) -> None:
        self.number = number
        self.headers = headers
        self.inbox = Inbox(room)
        self._link = link
        self._open = True

    async def write(self, data: Piece) -> None:
        """Send bytes; returns once there is room for more. Dropped once the stream is over."""
        if not self._open:
            await asyncio.sleep(0)  # so that a writer with much to say hears that nobody listens
        elif data:
            await self._link.send(self.number, data)

    async def finish(self) -> None:
        """Say that no more will be sent. Idempotent."""
        if self._open:
            self._open = False
            await self._link.end(self)

    async def reset(self, status: spdy.Reset = spdy.Reset.CANCEL) -> None:
        """End both directions at once. Idempotent."""
        if self.was_dropped():
            return
        self.drop()
        await self._link.reset(self.number, status)

    def drop(self) -> None:
        """The client or the connection has given the stream up."""
        self._open = False
        self.inbox.abort()

    def was_dropped(self) -> bool:
        """Whether the stream is known no more."""
        return not self._link.knows(self.number)

    def is_over(self) -> bool:
        """Whether both directions have ended."""
        return not self._open and self.inbox.ended


class SpdyLink:
    """One connection. `listen` must run for anything to arrive."""

    def __init__(self, pipe: Pipe, limits: spdy.SpdyLimits | None = None, *, most_streams: int = MOST_STREAMS) -> None:
        self.pipe = pipe
        self.moved = 0  # bytes of payload in both directions: who watches for idleness compares
        self._decoder = spdy.Decoder(limits)
        self._encoder = spdy.Encoder()
        self._most_streams = most_streams
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._opened: asyncio.Queue[Stream] = asyncio.Queue(maxsize=64)
        self._accepting = True

    async def accept(self) -> Stream:
        """The next stream that the client opens. It has been answered already."""
        return await self._opened.get()

    def ignore_more(self) -> None:
        """Read over what is opened from now on. Refusing it would fail a client that asks for more than it may have."""
        self._accepting = False
        while not self._opened.empty():
            self._opened.get_nowait().inbox.discard()

    async def listen(self) -> None:
        """Read until the client has gone, or has broken the protocol; then every stream is given up."""
        try:
            while received := await self.pipe.read():
                for event in self._decoder.receive(received):
                    if not isinstance(event, spdy.Data):
                        await self._handle(event)
                    elif (full := self._take(event)) is not None:
                        await full.room()
        except spdy.Malformed as reason:
            log.info("a streaming connection is ended: the client sent %s", reason)
            await self.pipe.write(spdy.going_away(self._last, 1), urgent=True)
        finally:
            self.lose()

    def lose(self) -> None:
        """Give up every stream: the client has gone."""
        for stream in self._streams.values():
            stream.drop()
        self._streams.clear()

    def knows(self, number: int) -> bool:
        """Whether a stream is open in either direction."""
        return number in self._streams

    async def send(self, number: int, data: Piece) -> None:
        """DATA frames for a stream."""
        self.moved += len(data)
        if len(data) <= _FRAME:
            await self.pipe.write(spdy.data_header(number, len(data)), data)
            return
        view = memoryview(data)
        for at in range(0, len(data), _FRAME):
            part = view[at : at + _FRAME]
            await self.pipe.write(spdy.data_header(number, len(part)), part)

    async def end(self, stream: Stream) -> None:
        """The last, empty DATA frame of a stream."""
        self._forget_if_over(stream)
        await self.pipe.write(spdy.data_header(stream.number, 0, fin=True))

    async def reset(self, number: int, status: spdy.Reset) -> None:
        """RST_STREAM."""
        self._streams.pop(number, None)
        await self.pipe.write(spdy.reset(number, status))

    async def _handle(self, event: spdy.ControlEvent) -> None:
        match event:
            case spdy.StreamOpened():
                await self._open(event)
            case spdy.WasReset(number):
                stream = self._streams.pop(number, None)
                if stream is not None:
                    stream.drop()
            case spdy.MoreHeaders(number, _, fin):
                if fin and number in self._streams:
                    self._ended(self._streams[number])
            case spdy.Pinged(number):
                if number % 2:  # the client's own; even ones would be answers to ours
                    await self.pipe.write(spdy.ping(number), urgent=True)
            case spdy.Replied() | spdy.GoingAway():
                pass  # we open no streams

    def _take(self, event: spdy.Data) -> Inbox | None:
        """Hand over the payload; the inbox that is full by it."""
        stream = self._streams.get(event.stream)
        if stream is None:
            if event.stream > self._last:
                raise spdy.Malformed(f"data on stream {event.stream}, which was never opened")
            return None  # on its way when we ended the stream
        self.moved += len(event.payload)
        full = None if stream.inbox.add(event.payload) else stream.inbox
        if event.fin:
            self._ended(stream)
        return full

    async def _open(self, event: spdy.StreamOpened) -> None:
        if event.stream % 2 == 0 or event.stream <= self._last:
            raise spdy.Malformed(f"stream number {event.stream} after {self._last}")
        self._last = event.stream
        if len(self._streams) >= self._most_streams:
            await self.pipe.write(spdy.reset(event.stream, spdy.Reset.REFUSED_STREAM), urgent=True)
            return
        room = max(_LEAST, min(_MOST, SHARE // (len(self._streams) + 1)))
        stream = Stream(self, event.stream, event.headers, room)
        self._streams[event.stream] = stream
        if event.fin:
            stream.inbox.end()
        await self.pipe.write(self._encoder.reply(event.stream), urgent=True)
        if self._accepting:
            await self._opened.put(stream)
        else:
            stream.inbox.discard()

    def _ended(self, stream: Stream) -> None:
        stream.inbox.end()
        self._forget_if_over(stream)

    def _forget_if_over(self, stream: Stream) -> None:
        if stream.is_over():
            self._streams.pop(stream.number, None)
