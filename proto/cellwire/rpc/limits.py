"""How much a peer may make us keep, and how soon its silence is noticed. Numbers and their reasons; no I/O.

grpclib reads a message of any length that the peer announces; `mended` refuses by these limits before a byte is kept.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one end grants the other.

    `message_bytes` longest message taken in; `stream_window` and `connection_window` bytes that may lie unread here;
    `frame_bytes` longest HTTP/2 frame taken in; `streams` calls at once, as server. `ping_after` seconds between
    pings (None: none are sent), `ping_wait` seconds for the answer.
    """

    message_bytes: int
    stream_window: int
    connection_window: int
    frame_bytes: int
    streams: int
    ping_after: float | None = None
    ping_wait: float = 10.0


# A list of every container of a busy node is a few MiB, a kubelet's own cap is 16 MiB. A stream's window is what one
# slow reader can make us keep; 8 MiB were no faster than 4. The connection's is the sum of 256 of them, so that slow
# readers of some exec sessions do not stop all other calls on their cell.
CELL = Limits(
    message_bytes=32 * MIB,
    stream_window=4 * MIB,
    connection_window=1024 * MIB,
    frame_bytes=256 * KIB,
    streams=2048,
)

# The agent's end also asks whether a controller is alive that sends nothing. The controller's end need not: it misses
# the heartbeats, and the kernel's probes (`watch_socket`) tell a dead host at no cost to it.
CELL_SERVER = Limits(
    message_bytes=CELL.message_bytes,
    stream_window=CELL.stream_window,
    connection_window=CELL.connection_window,
    frame_bytes=CELL.frame_bytes,
    streams=CELL.streams,
    ping_after=10.0,
    ping_wait=10.0,
)

# Who has not proved anything: a signing request and an identity document are 4 KiB together.
STRANGER = Limits(
    message_bytes=64 * KIB,
    stream_window=64 * KIB,
    connection_window=128 * KIB,
    frame_bytes=16 * KIB,
    streams=4,
)

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 2.0
"""For the goodbye of TLS; a dead peer never answers it, and asyncio's own 30 s would hide the loss for as long."""

STRANGER_SECONDS = 30.0
"""Life of a connection for short calls, after which it is cut whatever it is doing."""

STRANGERS = 1024
"""Connections for short calls at once."""


LOCAL_BUFFER = MIB
"""What a unix socket takes in one go: a kubelet's list of 500 containers is 400 KiB, and is asked every second."""


def widen_local(sock: socket.socket) -> bool:
    """Have a unix socket take a whole list without waiting for its reader; whether it is one."""
    if sock.family != socket.AF_UNIX:
        return False
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LOCAL_BUFFER)
    return True


def watch_socket(sock: socket.socket) -> None:
    """Let the kernel break a TCP connection whose peer's host is gone: 25 s idle, or 20 s with bytes unanswered."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for option, value in (
        (socket.TCP_KEEPIDLE, 10),
        (socket.TCP_KEEPINTVL, 5),
        (socket.TCP_KEEPCNT, 3),
        (socket.TCP_USER_TIMEOUT, 20_000),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
