"""How much a peer may send before it is refused, and the windows that let a stream run at the wire's speed.

grpclib 0.4.9 keeps bytes of a message of any announced length. Here the length prefix is checked before a byte of the
message is kept, and the connection of a peer that announces more than its limit is ended. Uses grpclib's protocol
classes from inside; tests/unit/rpc says so when they change.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from grpclib.config import Configuration
from grpclib.protocol import EventsProcessor, H2Protocol
from h2.events import DataReceived

WINDOW = 8 << 20
# A kubelet receives no more than 16 MiB; file and log chunks are far smaller.
LARGEST_MESSAGE = 16 << 20
# A join is a token, a signing request and an identity document.
LARGEST_JOIN = 64 << 10

CONFIGURATION = Configuration(
    http2_connection_window_size=WINDOW,
    http2_stream_window_size=WINDOW,
    _keepalive_time=10.0,
    _keepalive_timeout=10.0,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=5.0,
)


class PrefixGuard:
    """Reads the length prefixes of one stream's bytes as they pass; says when one is above the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._skip = 0
        self._header = b""

    def exceeds(self, data: bytes) -> bool:
        """Feed bytes in order; True once a message is announced that is too long."""
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            step = 5 - len(self._header)
            self._header += data[position : position + step]
            position += step
            if len(self._header) == 5:
                (length,) = struct.unpack(">I", self._header[1:])
                if length > self._limit:
                    return True
                self._skip, self._header = length, b""
        return False


class _GuardedProcessor(EventsProcessor):
    def __init__(self, handler: Any, connection: Any, limit: int) -> None:
        super().__init__(handler, connection)
        self._limit = limit
        self._guards: dict[int, PrefixGuard] = {}

    def process_data_received(self, event: DataReceived) -> None:
        stream_id, data = event.stream_id, event.data
        if stream_id in self.streams:
            guard = self._guards.setdefault(stream_id, PrefixGuard(self._limit))
            if guard.exceeds(data):
                self.close(f"a message above the limit of {self._limit} bytes was announced")
                return
        super().process_data_received(event)
        if len(self._guards) > 2 * len(self.streams) + 16:
            self._guards = {key: guard for key, guard in self._guards.items() if key in self.streams}


def guarded(protocol: H2Protocol, limit: int, lost: Callable[[], None] | None = None) -> H2Protocol:
    """The same protocol with a limit on announced messages, and a call when its connection is lost."""
    made, gone = protocol.connection_made, protocol.connection_lost

    def connection_made(transport: asyncio.BaseTransport) -> None:
        made(transport)
        protocol.processor = _GuardedProcessor(protocol.handler, protocol.connection, limit)

    def connection_lost(exc: BaseException | None) -> None:
        gone(exc)
        if lost is not None:
            lost()

    protocol.connection_made = connection_made
    protocol.connection_lost = connection_lost
    return protocol
