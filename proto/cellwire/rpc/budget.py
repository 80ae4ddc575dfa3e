"""The budget of a peer: decides when it has used up enough of a connection. No I/O.

HTTP/2 lets a peer ask for work that costs it nothing: calls that it takes back at once, pings, settings, empty frames.
A frame costs much the same whatever it carries, but headers cost by their length: a byte may stand for a whole header.
So many bytes may be hours of work or none, and who takes them in has to give others a turn: `Frames` tells what bytes
will cost by the heads of their frames, before anybody reads them.
"""

from __future__ import annotations

from collections.abc import Iterable

from h2.events import (
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    StreamReset,
    UnknownFrameReceived,
)

from cellwire.rpc.limits import MessageLimits

CONTROL = (PingReceived, PriorityUpdated, RemoteSettingsChanged, StreamReset, UnknownFrameReceived)


class Budget:
    """Budget of one connection. Times are seconds of any clock that runs evenly."""

    def __init__(self, limits: MessageLimits, now: float) -> None:
        self._limits = limits
        self._events = 0
        self._bytes = 0
        self._partial = 0
        self._control = 0.0
        self._at = now
        self._frames = 0.0
        self._framed_at = now

    def spend(self, received: int, events: Iterable[Event], unsent: int, now: float) -> str:
        """Take note of what has come, and of the bytes that wait to be sent; why the connection is to end, or ""."""
        limits = self._limits
        self._bytes += received
        if limits.received_bytes is not None and self._bytes > limits.received_bytes:
            return f"more than {limits.received_bytes} bytes were sent on a connection for short calls"
        if limits.unsent_bytes is not None and unsent > limits.unsent_bytes:
            return f"{unsent} bytes wait for a peer that does not read"
        if limits.events is None and limits.control_burst is None:
            return ""
        self._control = max(self._control - (now - self._at) * limits.control_rate, 0.0)
        self._at = now
        for event in events:
            self._events += 1
            self._control += isinstance(event, CONTROL) or (isinstance(event, DataReceived) and not event.data)
        if limits.events is not None and self._events > limits.events:
            return f"more than {limits.events} frames came on a connection for short calls"
        if limits.control_burst is not None and self._control > limits.control_burst:
            return f"more than {limits.control_burst} frames that carry nothing came at once"
        return ""

    def keep(self, more: int) -> str:
        """Take note of so many bytes more (or fewer) that are kept of messages whose ends have not come; why the
        connection is to end, or "".
        """
        most, before = self._limits.partial_bytes, self._partial
        self._partial += more
        if most is None or not before <= most < self._partial:
            return ""
        return f"more than {most} bytes came of messages without their ends"

    def pause(self, cost: float, now: float) -> float:
        """Take note of what frames have cost (`Frames`); for how many seconds no other is to be taken in."""
        limits = self._limits
        if limits.frames_rate is None:
            return 0.0
        self._frames = max(self._frames - (now - self._framed_at) * limits.frames_rate, 0.0) + cost
        self._framed_at = now
        return max(self._frames - limits.frames_burst, 0.0) / limits.frames_rate


HEAD = 9
DATA = 0
# A frame of data that carries so much is paid by what it carries.
LARGE = 4 << 10
HEADER_BYTES = 64
# What a client sends before its first frame.
PREFACE = 24


class Frames:
    """The frames of one connection, from its first byte; `preface` bytes before the first frame cost nothing."""

    def __init__(self, preface: int = 0) -> None:
        self._head = b""
        self._left = preface  # of the frame that has begun

    def upto(self, data: bytes | memoryview, begin: int, most: int) -> tuple[int, int]:
        """How far into the data a cost of about `most` reaches, and what it is as far as that."""
        at, cost = begin, 0
        while at < len(data) and cost < most:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            part = data[at : at + HEAD - len(self._head)]
            at += len(part)
            self._head += part
            if len(self._head) == HEAD:
                length, kind = int.from_bytes(self._head[:3]), self._head[3]
                cost += length < LARGE if kind == DATA else 1 + length // HEADER_BYTES
                self._head, self._left = b"", length
        return at, cost
