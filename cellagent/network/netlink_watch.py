"""The kernel tells what is taken from a network: addresses, routes, rules and packet rules that went, addresses given.

Whoever listens is woken, not told what: it looks for itself. Events that the kernel had to drop wake as well.
Source: rtnetlink(7), and linux/netfilter/nf_tables.h for what nft changes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

_NETFILTER = 12
# Groups as bits: addresses, routes and rules of IPv4 and IPv6; and of the other family what nft changes.
_ROUTE_GROUPS = 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18
_NFT_GROUPS = 1 << 6
_HEADER = struct.Struct("=IHHII")
_NEWADDR, _DELADDR, _DELROUTE, _DELRULE = 20, 21, 25, 33
_NFT = 10 << 8
_NFT_DELETED = {_NFT | 2, _NFT | 5, _NFT | 8}
_WANTED = {_NEWADDR, _DELADDR, _DELROUTE, _DELRULE} | _NFT_DELETED
_BUFFER = 1 << 18


@contextmanager
def losses(woken: Callable[[], None]) -> Generator[None]:
    """Call `woken` whenever something may be missing, for as long as this lives, on the running loop."""
    loop = asyncio.get_running_loop()
    doors = [_door(socket.NETLINK_ROUTE, _ROUTE_GROUPS), _door(_NETFILTER, _NFT_GROUPS)]

    def read(door: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                try:
                    data = door.recv(_BUFFER)
                except BlockingIOError:
                    raise
                except OSError:  # ENOBUFS: some were dropped
                    woken()
                    continue
                if concerns(data):
                    woken()

    try:
        for door in doors:
            loop.add_reader(door, read, door)
        yield
    finally:
        for door in doors:
            loop.remove_reader(door)
            door.close()


def concerns(data: bytes) -> bool:
    """Whether any of these netlink messages tells of a loss, or of an address given. Pure."""
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, position)
        if kind in _WANTED:
            return True
        if length < _HEADER.size:
            return False
        position += (length + 3) & ~3
    return False


def _door(protocol: int, groups: int) -> socket.socket:
    door = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        door.bind((0, groups))
    except OSError:
        door.close()
        raise
    return door
