"""The open TLS port that cells and strangers dial: who gets in, who is served what, who is cut off.

Nobody is believed before a certificate of ours is shown, so until then a connection is a guest (`guests`): counted from
the moment at which it is accepted, with a time for its handshake, its first request and its whole life. Handshakes
take turns (`handshakes`); who dials from an address at which a cell lives has places and turns apart from strangers'. A
cell that has shown its certificate is no guest any more, and short calls with a certificate have places of their own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import cast

from cellwire.faults import Fault, Kind
from cellwire.rpc import grpclib_patches
from cellwire.rpc import limits as bounds
from cellwire.rpc.giving import Gifts
from cellwire.rpc.guests import Guest, Guests, Places
from cellwire.rpc.handshakes import TURN_SECONDS, Turns
from cellwire.rpc.limits import FROM_CELL
from cellwire.rpc.reverse import AUTHORITY, CALLS, TURNED, WORKER, Certificate, TurnedChannel, common_name, worker_of

log = logging.getLogger(__name__)
BACKLOG = 4096
# Accepted in one go: some milliseconds' work. Who waits in the kernel has no turn, and nobody counts its time.
AT_ONCE = 64
# The state of a TCP connection, as the kernel tells it.
ESTABLISHED = 1
# While there are no descriptors left.
SHORT_SECONDS = 0.1
# Refusals are told together, so that who is refused does not fill the disk.
TELL_SECONDS = 10.0
# A cell has one connection for short calls, and another while it has not seen yet that the first is lost.
EACH_CELL = 4
# How often who dials from a cell's address may come, at once and each second. An agent dials some times as it boots and
# pauses longer the more often in vain. A connection is 11 ms of CPU, and one that is kept out still a handshake.
CELL_BURST, CELL_RATE = 60.0, 2.0


class _Threshold(asyncio.Protocol):
    """A connection whose handshake is done: hands it to the protocol that its ALPN asks for."""

    def __init__(self, port: ListeningSocket, guest: Guest) -> None:
        self._port = port
        self._guest = guest
        self.passed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Choose, and step aside."""
        given = cast("asyncio.Transport", transport)
        inner = self._port.admit(given, self._guest)
        if inner is None:
            given.close()
            return
        self.passed = True
        given.set_protocol(inner)
        inner.connection_made(given)


class ListeningSocket:
    """An open port, and what is connected to it."""

    def __init__(
        self,
        servers: Mapping[str, grpclib_patches.MendedServer],
        turned: Callable[[TurnedChannel], None],
        authority: bytes,
        gifts: Gifts,
        places: Places,
        familiar: Callable[[str], bool],
        crowded: Callable[[], None],
    ) -> None:
        self._servers = dict(servers)
        self._turned = turned
        self._authority = authority
        self._gifts = gifts
        self._cells: set[TurnedChannel] = set()
        self._guests = Guests(places)
        # From addresses of cells: strangers never have their places.
        familiar_places = dataclasses.replace(places, total=places.familiar, burst=CELL_BURST, rate=CELL_RATE)
        self._neighbours = Guests(familiar_places)
        self._familiar = familiar
        self._crowded = crowded
        self._turns = Turns()
        self._begin: Callable[[Guest], object] = lambda _: None
        # Cells that renew: they have proved who they are, and are told apart by it.
        each = min(places.address, EACH_CELL)
        self._known = Guests(dataclasses.replace(places, address=each, vain_rate=places.rate))
        self._sockets: dict[Guest, socket.socket] = {}
        self._served: dict[grpclib_patches.ServerConnection, list[asyncio.TimerHandle]] = {}
        self._ended = False
        self._refused: Counter[str] = Counter()
        self._told_at = 0.0
        self.number = 0

    @property
    def guests(self) -> int:
        """How many are connected who have proved nothing."""
        return self._guests.count + self._neighbours.count

    async def accept(self, listening: Sequence[socket.socket], context: ssl.SSLContext) -> None:
        """Take connections until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._begin = lambda guest: tasks.create_task(self._shake(guest, context), name="handshake")
            for each in listening:
                tasks.create_task(self._take(each), name="accept")

    async def _take(self, listening: socket.socket) -> None:
        while True:
            try:
                arrived = await _arrivals(listening)
            except OSError as error:
                # Mostly want of descriptors or memory. Those who have waited longest in vain give theirs.
                self._refuse(f"a connection could not be accepted: {error}")
                if (guest := self._guests.longest_silent() or self._neighbours.longest_silent()) is not None:
                    self._cut(guest)
                await asyncio.sleep(SHORT_SECONDS)
                continue
            for sock, host in arrived:
                self._receive(sock, host)
            self._next()
            # A crowd is taken in between other work.
            await asyncio.sleep(0)

    def _receive(self, sock: socket.socket, host: str) -> None:
        """One more guest, or it is sent away."""
        familiar = self._familiar(host)
        guest, leaver = (self._neighbours if familiar else self._guests).enter(host, time.monotonic())
        if leaver is not None:
            self._cut(leaver)
        if guest is not None:
            self._sockets[guest] = sock
            self._turns.wait(guest, familiar=familiar)
            return
        self._refuse("there are too many connections, or too many in vain, from one address or in all")
        if familiar and self._neighbours.full:
            self._crowded()
        sock.close()

    def _next(self) -> None:
        """Begin the handshakes whose turn it is."""
        now = time.monotonic()
        for guest in self._turns.late(now):
            self._refuse("a handshake could not begin in time: too many dial at once")
            if guest.familiar:
                self._crowded()
            self._cut(guest)
        while not self._ended and (guest := self._turns.next(now)) is not None:
            if (sock := self._sockets.get(guest)) is not None and _hung_up(sock):
                self._refuse("it hung up before its turn came: too many dial at once")
                if guest.familiar:
                    self._crowded()
                self._cut(guest)
                continue
            for guests in (self._guests, self._neighbours):
                guests.attend(guest, now)
            self._begin(guest)

    async def _shake(self, guest: Guest, context: ssl.SSLContext) -> None:
        """The handshake; then what was asked for has the connection."""
        sock, threshold = self._sockets.get(guest), _Threshold(self, guest)
        if sock is None:  # it was cut off meanwhile
            return
        loop = asyncio.get_running_loop()
        turn = loop.call_later(TURN_SECONDS, self._next)
        try:
            await loop.connect_accepted_socket(
                lambda: threshold,
                sock,
                ssl=context,
                ssl_handshake_timeout=bounds.HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=bounds.SHUTDOWN_SECONDS,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            self._refuse(f"the TLS handshake failed: {type(error).__name__}")
            sock.close()
        finally:
            turn.cancel()
            self._turns.leave(guest)
            if not threshold.passed:
                self._gone(guest)
            self._next()

    def admit(self, transport: asyncio.Transport, guest: Guest) -> asyncio.Protocol | asyncio.BufferedProtocol | None:
        """The protocol for a connection, or None: it is not wanted any longer."""
        if self._ended:  # its handshake outlasted the port
            return None
        session: ssl.SSLObject = transport.get_extra_info("ssl_object")
        asked = session.selected_alpn_protocol()
        if asked == AUTHORITY:
            transport.write(self._authority)
            return None
        certificate: Certificate = session.getpeercert() or {}
        peer: tuple[str, int] = transport.get_extra_info("peername") or ("?", 0)
        name = common_name(certificate)
        worker = worker_of(certificate)
        if name:
            (self._neighbours if guest.familiar else self._guests).proved(guest, time.monotonic())
        if asked == WORKER and worker:
            return self._admit_worker(guest, name)
        if asked == TURNED and name and not worker:
            self._gone(guest)
            return self._admit_cell(TurnedChannel(FROM_CELL, certificate, peer[0]))
        if asked == CALLS:
            return self._admit_caller(transport, guest, name)
        if giving := self._gifts.admit(asked, peer[0]):  # which bounds them itself
            self._gone(guest)
            return giving
        self._refuse(f"it asks for {asked}, and shows {'a' if name else 'no'} certificate")
        return None

    def _admit_cell(self, channel: TurnedChannel) -> asyncio.BufferedProtocol:
        protocol = channel.protocol(lambda: self._cells.discard(channel))
        self._cells.add(channel)
        # Once the connection is made: what `turned` starts may call at once.
        asyncio.get_running_loop().call_soon(self._turned, channel)
        return protocol

    def _admit_worker(self, guest: Guest, name: str) -> asyncio.Protocol | None:
        """The calls of a worker's shim, for as long as its connection stands; the newest of its connections wins."""
        known = self._recognise(guest, name)
        if known is None:
            return None

        def lost(error: Exception | None) -> None:
            del error
            self._known.leave(known)
            self._gone(known)
            self._served.pop(served, None)

        served = self._servers[WORKER].protocol(lost)
        self._served[served] = []
        return served

    def _recognise(self, guest: Guest, name: str) -> Guest | None:
        """The place of one who has shown a certificate, in place of the stranger's; None where it has none left."""
        sock = self._sockets.get(guest)
        self._gone(guest)
        known, leaver = self._known.enter(name, time.monotonic())
        if leaver is not None:
            self._cut(leaver)
        if known is None:
            self._refuse("a cell or worker has too many connections for calls")
        elif sock is not None:
            self._sockets[known] = sock
        return known

    def _admit_caller(self, transport: asyncio.Transport, guest: Guest, name: str) -> asyncio.Protocol | None:
        loop = asyncio.get_running_loop()
        if name:
            known = self._recognise(guest, name)
            if known is None:
                return None
            guest = known

        def lost(error: Exception | None) -> None:
            del error
            self._known.leave(guest)
            self._gone(guest)
            for timer in self._served.pop(served, ()):
                timer.cancel()

        served = self._servers[CALLS].protocol(lost)
        first = loop.call_later(bounds.FIRST_SECONDS, transport.abort)
        self._served[served] = [first, loop.call_later(bounds.STRANGER_SECONDS, transport.abort)]

        def heard() -> None:
            first.cancel()
            self._guests.heard(guest)
            self._neighbours.heard(guest)

        served.on_request = heard
        return served

    def _cut(self, guest: Guest) -> None:
        """End a guest's connection, whatever it is at."""
        sock = self._sockets.pop(guest, None)
        self._leave(guest)
        if sock is not None:
            if guest.waits:  # nobody else has it yet
                sock.close()
                return
            try:
                # Not closed here: the transport has it, and sees it end.
                sock.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                log.debug("ended already: %s", error)

    def _gone(self, guest: Guest) -> None:
        self._sockets.pop(guest, None)
        self._leave(guest)

    def _leave(self, guest: Guest) -> None:
        self._turns.leave(guest)
        self._guests.leave(guest)
        self._neighbours.leave(guest)

    def _refuse(self, why: str) -> None:
        self._refused[why] += 1
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            log.warning("connections refused: %s", "; ".join(f"{why} ({n})" for why, n in self._refused.items()))
            self._refused.clear()

    async def end(self) -> None:
        """Close every connection; take no other."""
        self._ended = True
        for guest in tuple(self._sockets):
            if guest.waits:
                self._cut(guest)
        for channel in tuple(self._cells):
            channel.close()
        self._gifts.end()
        for served in tuple(self._served):
            await served.end()


@asynccontextmanager
async def accepting(  # noqa: PLR0913 # each is named where it is passed
    at: tuple[str, int],
    context: ssl.SSLContext,
    *,
    servers: Mapping[str, grpclib_patches.MendedServer],
    turned: Callable[[TurnedChannel], None],
    authority: bytes,
    files: Mapping[str, Path] | None = None,
    places: Places | None = None,
    familiar: Callable[[str], bool],
    crowded: Callable[[], None] = lambda: None,
    mend: str,
) -> AsyncGenerator[ListeningSocket]:
    """Open the port at a host and a number. Raises Fault UNAVAILABLE, with this mend, where it cannot listen.

    `servers` serve by the ALPN word: "h2" whoever connects, that of workers their shims; no other is offered. `turned`
    is given a channel for each cell that dials with a certificate; `authority` is written to whoever asks for it;
    `files` are given to whoever asks for their ALPN word. `familiar` tells whether a cell of ours lives at an address;
    `crowded` is told of each who dialled from such a one and was sent away since too many others dial.
    """
    opened = ListeningSocket(servers, turned, authority, Gifts(files or {}), places or Places(), familiar, crowded)
    try:
        listening = await listening_at(*at)
    except OSError as error:
        raise Fault(Kind.UNAVAILABLE, f"port of cells at {at[0]} port {at[1]}", str(error), mend) from error
    opened.number = listening[0].getsockname()[1]
    try:
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(opened.accept(listening, context), name="accept")
            try:
                yield opened
            finally:
                taking.cancel()
                await opened.end()
    finally:
        for each in listening:
            each.close()


async def _arrivals(listening: socket.socket) -> list[tuple[socket.socket, str]]:
    """Who has come, and from where; waits until there is one. Raises OSError where the first cannot be accepted."""
    sock, peer = await asyncio.get_running_loop().sock_accept(listening)
    arrived = [(sock, str(peer[0]))]
    # What keeps another from being accepted is told the next time.
    with suppress(OSError):
        while len(arrived) < AT_ONCE:
            sock, peer = listening.accept()
            sock.setblocking(False)  # noqa: FBT003 # the socket's own signature
            arrived.append((sock, str(peer[0])))
    return arrived


def _hung_up(sock: socket.socket) -> bool:
    """Whether the other end of a TCP connection has closed it, or broken it."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED


async def listening_at(host: str, port: int) -> list[socket.socket]:
    """Sockets on each address of the host, all at one port. Raises OSError where they cannot be had."""
    resolve = partial(asyncio.get_running_loop().getaddrinfo, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    found: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(await resolve(host or None, port)):
        where = (address[0], port or (found[0].getsockname()[1] if found else 0))
        sock = socket.create_server(where, family=family, backlog=BACKLOG)
        sock.setblocking(False)  # noqa: FBT003 # the socket's own signature
        found.append(sock)
    return found
