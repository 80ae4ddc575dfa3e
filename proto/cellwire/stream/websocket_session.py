"""Exec, attach and port-forward on the channels of a WebSocket, and a pipe for SPDY inside its messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiohttp import WSCloseCode, WSMsgType, web

from cellwire.rpc.carried import Piece
from cellwire.stream import remotecommand, websocket
from cellwire.stream.conversation import while_connected
from cellwire.stream.forward import Dial, carry
from cellwire.stream.inbox import Inbox
from cellwire.stream.pipe import hung_up
from cellwire.stream.remotecommand import Outcome
from cellwire.stream.session import SessionRequest
from cellwire.stream.spdy import Malformed

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 32 << 20
"""Bytes of one message; some clients send a whole file as one."""
LONGEST_REASON = 123
"""Bytes that a closing message has room for."""
CLOSING = 10.0
"""Seconds that a client has for its half of the closing handshake."""


class Socket:
    """A WebSocket of which messages are sent whole, one at a time, and dropped once the client is gone."""

    def __init__(self, response: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self.moved = 0
        self._response = response
        self._transport = transport
        self._sending = asyncio.Lock()

    async def receive(self) -> str | bytes | None:
        """The next message; None once the client has gone."""
        message = await self._response.receive()
        if message.type not in {WSMsgType.BINARY, WSMsgType.TEXT}:
            return None
        data: str | bytes = message.data
        self.moved += len(data)
        return data

    async def send(self, message: str | bytes) -> None:
        """Send one message; returns once there is room for more."""
        self.moved += len(message)
        async with self._sending:  # several tasks waiting in one drain would be cancelled together
            try:
                if isinstance(message, str):
                    await self._response.send_str(message)
                else:
                    await self._response.send_bytes(message)
            except ConnectionError:
                pass  # who receives learns it

    async def close(self, broken: Malformed | None = None) -> None:
        """Say goodbye, or why not, and wait a little for the answer."""
        if broken is None:
            await self._response.close()
        else:
            await self._response.close(code=WSCloseCode.PROTOCOL_ERROR, message=str(broken).encode()[:LONGEST_REASON])

    def hung_up(self) -> bool:
        """Whether the client has gone, known even while it is not read from."""
        return self._transport is None or self._transport.is_closing() or hung_up(self._transport)

    def abort(self) -> None:
        """Hang up at once."""
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()


class _Channels:
    """Listens to the channels of a socket and fills their inboxes; unknown channels are read over."""

    def __init__(self, socket: Socket, protocol: str, inboxes: dict[int, Inbox]) -> None:
        self.socket = socket
        self.protocol = protocol
        self._inboxes = inboxes

    @property
    def moved(self) -> int:
        """Bytes so far."""
        return self.socket.moved

    def hung_up(self) -> bool:
        """Whether the client has gone."""
        return self.socket.hung_up()

    async def send(self, channel: int, payload: Piece) -> None:
        """Bytes on a channel."""
        await self.socket.send(websocket.encode(self.protocol, channel, payload))

    async def listen(self) -> None:
        """Read until the client has gone, or has broken the protocol."""
        try:
            while (message := await self.socket.receive()) is not None:
                said = websocket.decode(self.protocol, message)
                inbox = self._inboxes.get(said.channel) if said else None
                if inbox is None:
                    continue
                if isinstance(said, websocket.Bytes):
                    await inbox.put(said.payload)
                else:
                    inbox.end()
        except Malformed as reason:
            log.info("a streaming connection is ended: the client sent %s", reason)
            await self.socket.close(reason)
        finally:
            for inbox in self._inboxes.values():
                inbox.abort()


class WebSocketClient:
    """The client's end of an exec or attach."""

    def __init__(self, socket: Socket, protocol: str, wanted: SessionRequest) -> None:
        self.stdin = Inbox()
        self.resizes = Inbox()
        self._wanted = wanted
        self.line = _Channels(socket, protocol, {websocket.STDIN: self.stdin, websocket.RESIZE: self.resizes})
        if not wanted.stdin:
            self.stdin.end()

    async def ready(self) -> None:
        """Tell the client that it is connected: an empty message on the lowest channel that we write to."""
        lowest = websocket.STDOUT if self._wanted.stdout else websocket.ERROR
        lowest = websocket.STDERR if self._wanted.stderr and not self._wanted.stdout else lowest
        await self.line.send(lowest, b"")

    async def stdout(self, data: Piece) -> None:
        """Standard output; dropped where the client did not ask for it."""
        if self._wanted.stdout:
            await self.line.send(websocket.STDOUT, data)

    async def stderr(self, data: Piece) -> None:
        """Standard error; dropped where the client did not ask for it."""
        if self._wanted.stderr:
            await self.line.send(websocket.STDERR, data)

    async def finish(self, outcome: Outcome) -> None:
        """Say how it ended, and close."""
        said = remotecommand.status(outcome, self.line.protocol)
        if said:
            await self.line.send(websocket.ERROR, said)
        await self.line.socket.close()


class _ChannelEnds:
    """The client's end of one forwarded port: an even channel for data, the next for errors."""

    def __init__(self, line: _Channels, index: int, inbox: Inbox) -> None:
        self.inbox = inbox
        self._line = line
        self._data = 2 * index
        self._error = 2 * index + 1

    async def open(self, port: int) -> None:
        """First bytes on both channels: the port."""
        for channel in (self._data, self._error):
            await self._line.send(channel, websocket.encode_port(port))

    async def write(self, data: Piece) -> None:
        """Bytes from the pod."""
        await self._line.send(self._data, data)

    async def finish(self) -> None:
        """These protocols have no word for the end of a channel."""
        self.inbox.discard()
        self.inbox.end()

    async def fail(self, sentence: str) -> None:
        """Say why on the channel for errors."""
        await self._line.send(self._error, sentence.encode())

    async def drop(self) -> None:
        """The client has gone."""


async def serve_channels(socket: Socket, protocol: str, ports: Sequence[int], dial: Dial) -> None:
    """Forward `ports`, a pair of channels each, until all are done or the client goes."""
    inboxes = {2 * index: Inbox() for index in range(len(ports))}
    line = _Channels(socket, protocol, inboxes)
    ends = [_ChannelEnds(line, index, inboxes[2 * index]) for index in range(len(ports))]

    async def carry_all() -> None:
        async with asyncio.TaskGroup() as pairs:
            for end, port in zip(ends, ports, strict=True):
                await end.open(port)
                pairs.create_task(carry(end, dial, port))
        await socket.close()

    await while_connected(line, carry_all())


class TunnelPipe:
    """The bytes of a SPDY connection in the binary messages of a WebSocket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """Some bytes; b"" once the peer has gone."""
        while True:
            message = await self._socket.receive()
            if message is None or isinstance(message, str):
                return b""
            if message:
                return message

    async def write(self, *parts: bytes | memoryview, urgent: bool = False) -> None:
        """Send `parts` as one message."""
        del urgent  # there is no sending without waiting here
        await self._socket.send(b"".join(parts))

    async def close(self) -> None:
        """Say goodbye."""
        await self._socket.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._socket.abort()

    def hung_up(self) -> bool:
        """Whether the peer has gone."""
        return self._socket.hung_up()
