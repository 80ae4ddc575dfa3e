"""A gRPC client that only counts: unary calls over a unix socket, whose replies are taken in and never decoded.

What it takes is the server's time and the kernel's; a client in Python that makes messages of the octets works longer
than the server. Blocking, one call at a time.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from hpack import Decoder, Encoder

_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_MOST = 2**31 - 1
_INITIAL_WINDOW, _LARGEST_FRAME = 4, 5
_FRAME = 2**24 - 1


class Counting:
    """One connection."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._encoder, self._decoder = Encoder(), Decoder()
        self._stream = -1
        self._buffer = bytearray(1 << 20)
        settings = struct.pack(">HIHI", _INITIAL_WINDOW, _MOST, _LARGEST_FRAME, _FRAME)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings))
        self._socket.sendall(_frame(_WINDOW, 0, 0, struct.pack(">I", _MOST - 65_535)))

    def call(self, method: str, request: bytes) -> int:
        """Ask, and take in the reply; how many octets it has. Raises AssertionError where the answer is a failure."""
        self._stream += 2
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = self._encoder.encode(headers.items())
        message = b"\0" + len(request).to_bytes(4, "big") + request
        self._socket.sendall(
            _frame(_HEADERS, _END_HEADERS, self._stream, block) + _frame(_DATA, _END_STREAM, self._stream, message)
        )
        count = 0
        while True:
            kind, flags, stream, payload = self._next()
            if kind == _DATA:
                count += payload
                continue
            content = bytes(self._buffer[:payload])
            if kind == _SETTINGS and not flags & _ACK:
                self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._socket.sendall(_frame(_PING, _ACK, 0, content))
            elif kind == _HEADERS:
                told = {str(key): str(value) for key, value in self._decoder.decode(content)}
                if flags & _END_STREAM:
                    assert (stream, told.get("grpc-status")) == (self._stream, "0"), told
                    self._socket.sendall(_frame(_WINDOW, 0, 0, struct.pack(">I", max(count, 1))))
                    return count - 5

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> tuple[int, int, int, int]:
        """Kind, flags, stream and length of the next frame, whose content is in the buffer."""
        self._read(9)
        head = bytes(self._buffer[:9])
        length = int.from_bytes(head[:3], "big")
        if length > len(self._buffer):
            self._buffer = bytearray(length)
        self._read(length)
        return head[3], head[4], int.from_bytes(head[5:9], "big") & _MOST, length

    def _read(self, count: int) -> None:
        view = memoryview(self._buffer)
        at = 0
        while at < count:
            got = self._socket.recv_into(view[at:count])
            assert got, "the server has closed the connection"
            at += got


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
