"""What a peer's bytes will cost, told by the heads of their frames before anybody reads them. No I/O.

A frame costs much the same whatever it carries, but headers cost by their length: a byte may stand for a whole header.
So many bytes may be hours of work or none, and who takes them in has to give others a turn.
"""

from __future__ import annotations

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

    def upto(self, data: bytes, begin: int, most: int) -> tuple[int, int]:
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
