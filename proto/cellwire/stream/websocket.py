"""The channel protocols of exec, attach and port-forward over WebSocket: a channel's number before its bytes. No I/O.

`channel.k8s.io` and the empty protocol send it as a byte of a binary message, the base64 ones as a digit of a text
message; version 5 adds a message that closes a channel (255, then its number).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from cellwire.stream.spdy import Malformed

PLAIN = ""
BASE = "channel.k8s.io"
BASE64 = "base64.channel.k8s.io"
V4 = "v4.channel.k8s.io"
V4_BASE64 = "v4.base64.channel.k8s.io"
V5 = "v5.channel.k8s.io"

SESSION_PROTOCOLS = (V5, V4, V4_BASE64, BASE, BASE64, PLAIN)
PORT_FORWARD_PROTOCOLS = (V4, V4_BASE64, PLAIN)
TUNNEL = "SPDY/3.1+portforward.k8s.io"
"""Not a channel protocol: the messages carry the bytes of a SPDY connection."""

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
"""Channels of exec and attach."""
_CLOSE = 255


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes on a channel."""

    channel: int
    payload: memoryview | bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The sender will say no more on a channel (version 5)."""

    channel: int


def decode(protocol: str, message: str | bytes) -> Bytes | Closed | None:
    """What one message says; None for an empty one. Raises Malformed."""
    if not message:
        return None
    if protocol in {BASE64, V4_BASE64}:
        return _decode_base64(message)
    data = message.encode() if isinstance(message, str) else message
    if protocol == V5 and data[0] == _CLOSE:
        if len(data) != 2:
            raise Malformed(f"a close message of {len(data)} bytes")
        return Closed(data[1])
    return Bytes(data[0], memoryview(data)[1:])


def _decode_base64(message: str | bytes) -> Bytes:
    text = message if isinstance(message, str) else message.decode("ascii", "replace")
    if not "0" <= text[0] <= "\x7f":
        raise Malformed("a message that does not begin with the digit of a channel")
    try:
        payload = base64.b64decode(text[1:].encode(), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("a message that is not base64") from None
    return Bytes(ord(text[0]) - ord("0"), payload)


def encode(protocol: str, channel: int, payload: bytes | memoryview) -> str | bytes:
    """The message that carries `payload`: text for the base64 protocols, else binary."""
    if protocol in {BASE64, V4_BASE64}:
        return chr(ord("0") + channel) + base64.b64encode(payload).decode()
    return b"%c%b" % (channel, payload)


def most_ports(protocol: str) -> int:
    """How many ports have channels: two each, of those that a byte or a base64 protocol's first character can name."""
    return (0x80 - ord("0") if protocol in {BASE64, V4_BASE64} else 0x100) // 2


def encode_port(port: int) -> bytes:
    """First bytes of both channels of a forwarded port."""
    return port.to_bytes(2, "little")
