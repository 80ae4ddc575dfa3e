"""Port-forward over SPDY: which two streams belong together, by the headers that the client gave them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PROTOCOL = "portforward.k8s.io"
DATA, ERROR = "data", "error"
WAITING = 1000
"""Streams that may wait for their other half."""


class BadStream(Exception):
    """A stream that belongs to no pair, and why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two streams of one forwarded connection."""

    request: str
    port: int
    data: int
    error: int


@dataclass(frozen=True, slots=True)
class _Half:
    port: int
    kind: str
    stream: int
    deadline: float


class Pairing:
    """Streams that wait for their other half. `timeout` seconds after the first, the pair is given up."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._halves: dict[str, _Half] = {}

    def opened(self, stream: int, headers: Mapping[str, str], now: float) -> Pair | None:
        """Note a new stream; the pair if it is now whole. Raises BadStream."""
        kind = headers.get("streamtype", "")
        if kind not in {DATA, ERROR}:
            raise BadStream(f"stream type {kind!r} is neither data nor error")
        port = _port(headers.get("port", ""))
        # Clients of old number no requests; theirs open the error stream, then the data stream.
        request = headers.get("requestid") or f"stream-{stream if kind == ERROR else stream - 2}"
        half = self._halves.pop(request, None)
        if half is None:
            if len(self._halves) >= WAITING:
                raise BadStream(f"{WAITING} streams already wait for their other half")
            self._halves[request] = _Half(port, kind, stream, now + self._timeout)
            return None
        if half.kind == kind or half.port != port:
            self._halves[request] = half
            raise BadStream(f"request {request!r} has a second {kind} stream, or two ports")
        data, error = (stream, half.stream) if kind == DATA else (half.stream, stream)
        return Pair(request, port, data, error)

    def expired(self, now: float) -> list[int]:
        """Streams whose other half did not come in time; they wait no longer."""
        late = {request: half for request, half in self._halves.items() if half.deadline <= now}
        for request in late:
            del self._halves[request]
        return [half.stream for half in late.values()]


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise BadStream(f"port {text[:20]!r} is not a port")
    return int(text)
