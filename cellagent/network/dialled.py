"""Packets to addresses of Services that are not held here, as the kernel tells of them by NFLOG.

The rule that tells is made by `service_rules`, with the group of this file. Formats are those of Linux'
uapi/linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

log = logging.getLogger(__name__)
GROUP = 17
# Of a packet, enough for the addresses of either family.
SNAPLEN = 64
_NETFILTER = 12  # NETLINK_NETFILTER
_PACKET, _CONFIG = 4 << 8, 4 << 8 | 1  # of the subsystem "ulog"
_REQUEST_AND_ACK, _ERROR = 1 | 4, 2
_HEADER, _FAMILY, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("!BBH"), struct.Struct("=HH")
_COMMAND, _MODE, _THRESHOLD, _PAYLOAD = 1, 2, 5, 9
_BIND, _COPY_PACKET = 1, 2


@contextmanager
def heard(tell: Callable[[str], None]) -> Generator[bool]:
    """Tell of each address that is dialled; False where this kernel cannot, and no rule may ask for it."""
    try:
        door = _door()
    except OSError as error:
        log.info("Services that are dialled without their name being asked for are not seen: %s", error)
        yield False
        return

    def read() -> None:
        try:
            for address in destinations(door.recv(65536)):
                tell(address)
        except OSError as error:
            log.debug("some of what was dialled was not seen: %s", error)

    loop = asyncio.get_running_loop()
    with door:
        loop.add_reader(door, read)
        try:
            yield True
        finally:
            loop.remove_reader(door)


def _door() -> socket.socket:
    door = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    try:
        door.bind((0, 0))
        for attribute in (
            (_COMMAND, struct.pack("!Bxxx", _BIND)),
            (_MODE, struct.pack("!IBx", SNAPLEN, _COPY_PACKET)),
            (_THRESHOLD, struct.pack("!I", 1)),
        ):
            door.send(_configuration(*attribute))
            _acknowledged(door.recv(4096))
        door.settimeout(0)
    except OSError:
        door.close()
        raise
    return door


def _configuration(kind: int, value: bytes) -> bytes:
    body = _FAMILY.pack(0, 0, GROUP) + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return _HEADER.pack(_HEADER.size + len(body), _CONFIG, _REQUEST_AND_ACK, 0, 0) + body


def _acknowledged(data: bytes) -> None:
    if _HEADER.unpack_from(data)[1] == _ERROR and (code := struct.unpack_from("=i", data, _HEADER.size)[0]):
        raise OSError(-code, os.strerror(-code))


def destinations(data: bytes) -> Iterator[str]:
    """To which addresses the packets went that these messages tell of."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        if kind == _PACKET and (found := _destination(data[at + _HEADER.size + _FAMILY.size : at + length])):
            yield found
        at += (length + 3) & ~3


def _destination(attributes: bytes) -> str:
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == _PAYLOAD:
            packet = attributes[at + _ATTRIBUTE.size : at + length]
            first, last = (16, 20) if packet[:1] and packet[0] >> 4 == 4 else (24, 40)
            return str(ip_address(packet[first:last])) if len(packet) >= last else ""
        at += (length + 3) & ~3
    return ""
