"""How much a peer may make us keep, and how soon its silence is noticed. Numbers and their reasons; no I/O.

grpclib reads a message of any length that the peer announces; `mended` refuses by these limits before a byte is kept.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, kw_only=True)
class MessageLimits:
    """Limits that one end of a connection grants the other.

    `message_bytes` longest message taken in; `stream_window` and `connection_window` bytes that may lie unread here;
    `frame_bytes` longest HTTP/2 frame taken in; `streams` calls at once, as server. `ping_after` seconds between
    pings (None: none are sent), `ping_wait` seconds for the answer.

    What ends a connection, None where nothing does: more than `events` HTTP/2 events in its life (calls, resets, pings,
    settings and window updates alike) or `received_bytes` in it; more than `control_burst` frames that carry nothing,
    beyond `control_rate` a second; more than `unsent_bytes` that wait here because the peer does not read; more than
    `partial_bytes` of messages that somebody waits for and whose ends have not come.

    What makes a peer wait: frames that cost more than `frames_burst`, and `frames_rate` a second (see `frames`).
    """

    message_bytes: int
    stream_window: int
    connection_window: int
    frame_bytes: int
    streams: int
    ping_after: float | None = None
    ping_wait: float = 10.0
    events: int | None = None
    received_bytes: int | None = None
    control_burst: int | None = None
    control_rate: float = 0.0
    unsent_bytes: int | None = None
    partial_bytes: int | None = None
    frames_burst: float = 0.0
    frames_rate: float | None = None


# A list of every container of a busy node is a few MiB, a kubelet's own cap is 16 MiB. A stream's window is what one
# slow reader can make us keep; 8 MiB were no faster than 4. The connection's is the sum of 256 of them, so that slow
# readers of some exec sessions do not stop all other calls on their cell.
CELL = MessageLimits(
    message_bytes=32 * MIB,
    stream_window=4 * MIB,
    connection_window=1024 * MIB,
    frame_bytes=MIB,
    streams=2048,
)

# The agent's end also asks whether a controller is alive that sends nothing: one that is frozen, whose kernel goes on
# acknowledging. The controller's end need not: it misses the heartbeats, and the kernel's probes (`watch_socket`) tell
# a dead host at no cost to it.
CELL_SERVER = dataclasses.replace(CELL, ping_after=10.0, ping_wait=10.0)

# The controller's end of a cell's connection. A cell runs one pod: what lists or tells of it is small, and what is told
# again and again is smaller (`LONGEST`). An agent answers pings and acknowledges settings, a few frames a minute;
# whatever else it sends carries something. What is sent to it waits for its windows, so little can be unsent.
# A frame costs 30 to 50 µs: a cell that sends nothing but small ones has a sixth of the controller's core at most.
FROM_CELL = dataclasses.replace(
    CELL,
    message_bytes=MIB,
    control_burst=1000,
    control_rate=50.0,
    unsent_bytes=32 * MIB,
    # The logs of some hundred containers, each in the middle of a chunk, or eleven of the longest answers (`LONGEST`).
    partial_bytes=192 * MIB,
    frames_burst=8000.0,
    frames_rate=4000.0,
)

# Of a worker's shim: a claim is a pod's labels and annotations, of which Kubernetes takes 256 KiB. A claim that waits
# for an instance is a call under way, and a node has at most some hundred pods. What it is sent is answered by little.
FROM_WORKER = dataclasses.replace(
    FROM_CELL,
    message_bytes=2 * MIB,
    stream_window=256 * KIB,
    connection_window=16 * MIB,
    streams=1024,
    partial_bytes=32 * MIB,
)

LONGEST: Mapping[str, int] = {
    "/chinampa.cell.v1.Cell/Report": 16 * KIB,
    "/chinampa.cell.v1.Cell/ReadFile": MIB + 4 * KIB,
    "/chinampa.cell.v1.Cell/TrimLog": KIB,
    "/chinampa.cell.v1.Cell/DiskUsage": 16 * KIB,
    "/chinampa.cell.v1.Cell/DialWorker": KIB,
    "/chinampa.cell.v1.Cell/PutFiles": KIB,
    "/chinampa.cell.v1.Cell/Services": 16 * KIB,
    "/chinampa.cell.v1.Cell/MountFolder": KIB,
    "/chinampa.cell.v1.Cell/Logs": 2 * MIB,
    "/runtime.v1.RuntimeService/GetContainerEvents": 512 * KIB,
    "/runtime.v1.RuntimeService/ContainerStats": 64 * KIB,
    "/runtime.v1.RuntimeService/ExecSync": 17 * MIB,
}
"""Bytes of the longest message that a method answers with, where it is not what the connection allows.

A protobuf message unfolds in memory to a hundred times its bytes (empty messages in a list): lists, events and stats of
a cell's one pod are some KiB for each container. Bytes do not unfold: ExecSync answers with up to 16 MiB, as a kubelet
allows it to, ReadFile with the record that a cell carries, of up to 1 MiB, and Logs with chunks of as much.
"""

# Who has not proved anything: a signing request and an identity document are 4 KiB together, and a call is a dozen
# frames. One count for all of them: a stranger may not choose what it wears us down with.
STRANGER = MessageLimits(
    message_bytes=64 * KIB,
    stream_window=64 * KIB,
    connection_window=128 * KIB,
    frame_bytes=16 * KIB,
    streams=4,
    events=128,
    received_bytes=256 * KIB,
    unsent_bytes=256 * KIB,
)

HANDSHAKE_SECONDS = 10.0
DIAL_SECONDS = 20.0
"""For a cell that dials, from its connection to the end of the handshake: it waits for its turn among all others."""

SHUTDOWN_SECONDS = 2.0
"""For the goodbye of TLS; a dead peer never answers it, and asyncio's own 30 s would hide the loss for as long."""

FIRST_SECONDS = 5.0
"""From the handshake to the whole of the first request, for who has proved nothing."""

STRANGER_SECONDS = 30.0
"""Life of a connection for short calls, after which it is cut whatever it is doing."""


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
