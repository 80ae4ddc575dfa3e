"""The open port of the pods API: who may stay there before having shown a token, and for how long.

Whoever reaches the port can hold connections open, begin requests that never end, and ask in vain: that costs a bounded
part of the memory, of the descriptors and of the log. A crowd waits for its turn instead of being refused, as long as
others' turns end. Who has shown a token that holds is no stranger any more, and is bounded no further here.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from cellwire.rpc import limits
from cellwire.rpc.guests import Guest, Guests, Places

log = structlog.get_logger()
# Half of them may be of one address. Each is some 50 KiB while it is silent.
MOST = 2048
# From the moment at which it has a place: for the handshake, and for what needs no token, as health and the dashboard.
LIFE_SECONDS = 60.0
# A busy machine takes its time; who is silent makes room for others long before.
HANDSHAKE_SECONDS = 30.0
# Sockets that wait for a place, as nothing but a descriptor; and for how long.
MOST_WAITING, PATIENCE = 1024, 30.0
LOOK = 0.25
# While there are no descriptors left.
SHORT = 0.1
# What strangers do is told together, so that they do not fill the disk.
TELL_SECONDS = 10.0


def places() -> Places:
    """A part of what descriptors there are; how often one address comes is bounded by its places."""
    total = min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
    return Places(total=total, address=max(total // 2, 1), burst=math.inf, vain_burst=math.inf)


class _Connection(NamedTuple):
    sock: socket.socket
    peer: object


class Callers:
    """Connections that have shown no token yet."""

    def __init__(self, room: Places) -> None:
        self._guests = Guests(room)
        self._there: dict[Guest, _Connection] = {}
        self._by_peer: dict[object, Guest] = {}
        self._some = asyncio.Event()
        """Set while anybody is to be looked at now and then."""
        self._waiting = 0
        self._refused: Counter[str] = Counter()
        self._told_at = -TELL_SECONDS
        self.logger = _HttpLog(self)
        """For the HTTP server."""

    def known(self, transport: asyncio.BaseTransport | None) -> None:
        """A caller has shown a token that holds."""
        guest = self._by_peer.get(transport.get_extra_info("peername")) if transport is not None else None
        if guest is not None:
            self._gone(guest)

    def refused(self, why: str, peer: str | None) -> None:
        """Somebody was sent away; the log has it, together with others'."""
        self._refused[why] += 1
        if time.monotonic() - self._told_at >= TELL_SECONDS:
            self._told_at = time.monotonic()
            told = "; ".join(f"{why} ({count})" for why, count in self._refused.items())
            log.warning("requests or connections were refused", cause=told, latest_peer=peer)
            self._refused.clear()

    async def accept(
        self, listening: Sequence[socket.socket], context: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        """Take connections until cancelled, each for a protocol of its own."""
        async with asyncio.TaskGroup() as tasks:
            for each in listening:
                tasks.create_task(self._take(each, context, protocol, tasks), name="accept")
            while True:
                await self._some.wait()
                await asyncio.sleep(LOOK)
                self._sweep(time.monotonic())
                if not self._there:
                    self._some.clear()

    async def _take(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
        tasks: asyncio.TaskGroup,
    ) -> None:
        while True:
            try:
                sock, peer = await asyncio.get_running_loop().sock_accept(listening)
            except OSError as error:
                self.refused(f"a connection could not be accepted: {error.strerror}", None)
                await asyncio.sleep(SHORT)
                continue
            if self._waiting < MOST_WAITING:
                tasks.create_task(self._come(sock, peer, context, protocol), name="connection to the pods API")
            else:
                sock.close()
                self.refused("too many wait for a place", str(peer[0]))
            # A crowd is taken in between other work.
            await asyncio.sleep(0)

    async def _come(
        self,
        sock: socket.socket,
        peer: tuple[str, int],
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        guest = await self._placed(str(peer[0]))
        if guest is None:
            sock.close()
            self.refused("there are too many connections without a token from one address, or in all", str(peer[0]))
            return
        self._there[guest], self._by_peer[peer] = _Connection(sock, peer), guest
        self._some.set()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol,
                sock,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=limits.SHUTDOWN_SECONDS,
            )
        except (OSError, ssl.SSLError, TimeoutError):
            sock.close()
            self._gone(guest)

    async def _placed(self, host: str) -> Guest | None:
        """A place, as soon as there is one."""
        self._waiting += 1
        try:
            for _ in range(round(PATIENCE / LOOK)):
                guest, leaver = self._guests.enter(host, time.monotonic())
                if leaver is not None:
                    self._cut(leaver)
                if guest is not None:
                    return guest
                await asyncio.sleep(LOOK)
            return None
        finally:
            self._waiting -= 1

    def _sweep(self, now: float) -> None:
        """Callers who have gone, and those whose time is over, make room."""
        for guest, connection in tuple(self._there.items()):
            if connection.sock.fileno() < 0:
                self._gone(guest)
            elif now - guest.since > LIFE_SECONDS:
                self._cut(guest)

    def _cut(self, guest: Guest) -> None:
        """As if its other end had gone: whatever holds the connection lets go of it."""
        with suppress(OSError):
            self._there[guest].sock.shutdown(socket.SHUT_RDWR)
        self._gone(guest)

    def _gone(self, guest: Guest) -> None:
        self._guests.leave(guest)
        connection = self._there.pop(guest, None)
        if connection is not None and self._by_peer.get(connection.peer) is guest:
            del self._by_peer[connection.peer]


class _HttpLog(logging.LoggerAdapter[logging.Logger]):
    """What the HTTP server logs. Requests that are none are no mistakes of ours: they are told with other refusals."""

    def __init__(self, callers: Callers) -> None:
        super().__init__(logging.getLogger(__name__))
        self._callers = callers

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        """Where the server could not go on with a request."""
        if isinstance(exc_info, HttpProcessingError):
            self._callers.refused("a request was not written as HTTP says", str(args[0]) if args else None)
        else:
            super().exception(msg, *args, exc_info=exc_info, **more)
