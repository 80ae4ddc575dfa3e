"""A SPDY/3.1 client that only counts: lean enough that what it talks to is what is measured.

Blocking sockets, one connection, no inflation of headers, payload thrown away where it lies. It sends frames of 32 KiB,
as kubectl and a kubelet do.
"""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

from cellwire.stream.spdy_dictionary import DICTIONARY

FRAME = 32 * 1024
AT_ONCE = 32
"""Frames in one write."""
BUFFER = 1 << 20
_HEADER = struct.Struct(">II")
_CONTROL = 0x80000000
_FIN = 1 << 24
_RST_STREAM, _GOAWAY = 3, 7


class Counter:
    """One connection that has been upgraded."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._next = 1

    def open(self, **headers: str) -> int:
        """Open a stream; its number. The reply is read over later."""
        number, self._next = self._next, self._next + 2
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for field in (name.encode(), value.encode()):
                plain += struct.pack(">I", len(field)) + field
        body = struct.pack(">IIH", number, 0, 0) + self._deflate.compress(plain)
        body += self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._link.sendall(_HEADER.pack(0x80030001, len(body)) + body)
        return number

    def send(self, stream: int, size: int) -> None:
        """So many bytes, then the end of the stream's own half."""
        frames = (_HEADER.pack(stream, FRAME) + bytes(FRAME)) * AT_ONCE
        for _ in range(size // (FRAME * AT_ONCE)):
            self._link.sendall(frames)
        left = size % (FRAME * AT_ONCE)
        self._link.sendall(_HEADER.pack(stream, left | _FIN) + bytes(left))

    def count(self, stream: int) -> int:
        """Bytes that come on a stream until its end, whatever comes on others."""
        total, payload, ours, last = 0, 0, False, False
        buffer = bytearray(BUFFER)
        view = memoryview(buffer)
        filled = 0
        while got := self._link.recv_into(view[filled:]):
            at, end = 0, filled + got
            while at < end:
                if payload:
                    taken = min(payload, end - at)
                    payload -= taken
                    at += taken
                    total += taken if ours else 0
                elif end - at < _HEADER.size:
                    break
                else:
                    first, second = _HEADER.unpack_from(buffer, at)
                    at += _HEADER.size
                    payload = second & 0xFFFFFF
                    ours, last = first == stream, bool(second & _FIN)
                    assert first not in {0x80030000 | _RST_STREAM, 0x80030000 | _GOAWAY}, "the server gave it up"
                if ours and last and not payload:
                    return total
            view[: end - at] = bytes(view[at:end])
            filled = end - at
        raise AssertionError(f"hung up after {total} bytes")


@contextmanager
def upgraded(url: str, version: str) -> Generator[Counter]:
    """Upgrade `url` to SPDY/3.1."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {version}\r\nContent-Length: 0\r\n\r\n"
    )
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as link:
        link.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            byte = link.recv(1)
            assert byte, answer
            answer += byte
        assert answer.split()[1] == b"101", answer
        yield Counter(link)
