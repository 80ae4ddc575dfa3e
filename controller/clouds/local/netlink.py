"""One thing asked of the kernel by rtnetlink(7): a link's way into another namespace, quicker than by a program."""

from __future__ import annotations

import os
import socket
import struct

_RTM_NEWLINK = 16
_REQUEST, _ACK = 1, 4
_IFLA_IFNAME, _IFLA_NET_NS_PID = 3, 19
_ANSWER = struct.Struct("=IHHIIi")


def move(link: str, pid: int, name: str) -> None:
    """Give a link of this thread's network namespace to that of a process, and a name there. Raises OSError."""
    body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(link), 0, 0)
    body += _attribute(_IFLA_NET_NS_PID, struct.pack("=I", pid)) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as door:
        door.send(struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, _REQUEST | _ACK, 1, 0) + body)
        *_, error = _ANSWER.unpack_from(door.recv(4096))
    if error:
        raise OSError(-error, f"moving {link} to process {pid}: {os.strerror(-error)}")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value.ljust((len(value) + 3) & ~3, b"\0")
