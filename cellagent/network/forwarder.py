"""The name server of a cell's pods: at the pod's gateway, over UDP and TCP.

What lies in the domain of Services is asked of the controller first, who answers it or makes sure that the cell holds
what the pod is about to dial; all else goes to the name server of the cluster, or the cell's own, byte for byte. Each
question has a socket of its own, so that an answer can be forged by nobody who does not see it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cellagent.network import dns_messages
from cellagent.network.dns_messages import Question
from cellwire.cell.v1 import cell_pb2 as wire

log = logging.getLogger(__name__)
PORT = 53
# A resolver asks again after 5 s by itself.
UPSTREAM_SECONDS = 3.0
MOST_AT_ONCE = 256
# Names that lead to names.
MOST_LED = 8
_LONGEST = 65535

Ask = Callable[[str, int], Awaitable[wire.NameAnswer | None]]
"""What the controller says to a name and type; None where it is not to be asked, or cannot be."""
Servers = Callable[[], tuple[str, ...]]
"""Name servers that are asked otherwise."""


class Forwarder:
    """Answers questions, each as a task of its own, a bounded number at once."""

    def __init__(self, tasks: asyncio.TaskGroup, pod: str, ask: Ask, servers: Servers) -> None:
        self._tasks = tasks
        self._pod = pod
        self._ask = ask
        self._servers = servers
        self._running: set[asyncio.Task[None]] = set()
        self._streams = 0

    def datagram(self, door: socket.socket) -> None:
        """Take what has come by UDP, and no more at a time than others of the loop can wait for."""
        with suppress(BlockingIOError, OSError):
            for _ in range(MOST_AT_ONCE):
                data, who = door.recvfrom(4096)
                # An address of the cell's is reached by every link, and this is the pod's alone.
                if who[0] != self._pod or len(self._running) >= MOST_AT_ONCE:
                    continue
                self._start(self._by_datagram(door, data, who))

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer questions of one TCP connection, one after another; of one too many, none."""
        if writer.get_extra_info("peername", ("",))[0] != self._pod or self._streams >= MOST_AT_ONCE:
            writer.close()
            return
        self._streams += 1
        try:
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(2 * UPSTREAM_SECONDS):
                    while True:
                        size = int.from_bytes(await reader.readexactly(2), "big")
                        said = await self._answer(await reader.readexactly(size), stream=True)
                        writer.write(len(said).to_bytes(2, "big") + said)
                        await writer.drain()
        finally:
            self._streams -= 1
            writer.close()

    def close(self) -> None:
        """Answer nobody any more."""
        for task in tuple(self._running):
            task.cancel()

    def _start(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = self._tasks.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _by_datagram(self, door: socket.socket, data: bytes, who: tuple[str, int]) -> None:
        said = await self._answer(data, stream=False)
        with suppress(OSError):
            door.sendto(said, who)

    async def _answer(self, data: bytes, *, stream: bool) -> bytes:
        asked = dns_messages.question(data)
        if asked is None:
            return data[:2] + (0x8000 | dns_messages.FORMAT_ERROR).to_bytes(2, "big") + bytes(8)
        try:
            known = await self._ask(asked.name, asked.type)
            if known is not None and known.known:
                found = await self._led(asked, known.records)
                return dns_messages.answer(asked, known.code, found, stream=stream)
            return await self._forwarded(asked, data, stream=stream)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            log.debug("no answer to %s: %s", asked.name, error)
            return dns_messages.answer(asked, dns_messages.SERVER_FAILURE, stream=stream)

    async def _led(self, asked: Question, records: Sequence[wire.NameRecord]) -> list[wire.NameRecord]:
        """The records with those of the name that the last leads to: a pod's resolver does not ask on by itself."""
        found = list(records)
        for _ in range(MOST_LED):
            if (
                not found
                or found[-1].type != dns_messages.CNAME
                or asked.type not in (dns_messages.A, dns_messages.AAAA)
            ):
                break
            target = found[-1].text
            known = await self._ask(target, asked.type)
            if known is not None and known.known:
                more = list(known.records)
            else:
                number = secrets.randbits(16)
                data = dns_messages.query(number, target, asked.type)
                inner = Question(id=number, flags=0, name=target, type=asked.type, raw=data[12:], size=_LONGEST)
                more = dns_messages.records(await self._forwarded(inner, data, stream=False))
            if not more:
                break
            found += more
        return found

    async def _forwarded(self, asked: Question, data: bytes, *, stream: bool) -> bytes:
        for server in self._servers():
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(UPSTREAM_SECONDS):
                    return await (_by_stream(server, data) if stream else _by_datagram(server, data))
        return dns_messages.answer(asked, dns_messages.SERVER_FAILURE, stream=stream)


async def _by_datagram(server: str, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as door:
        door.connect((server, PORT))
        door.send(data)
        while True:
            said = await loop.sock_recv(door, _LONGEST)
            if said[:2] == data[:2]:
                return said


async def _by_stream(server: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, PORT)
    try:
        writer.write(len(data).to_bytes(2, "big") + data)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()


def of_resolv_conf(paths: tuple[Path, ...]) -> tuple[str, ...]:
    """The servers of the first file that names any."""
    for path in paths:
        with suppress(OSError):
            lines = [line.split() for line in path.read_text().splitlines()]
            if found := tuple(line[1] for line in lines if len(line) > 1 and line[0] == "nameserver"):
                return found
    return ()


@asynccontextmanager
async def answering(address: str, pod: str, ask: Ask, servers: Servers) -> AsyncGenerator[None]:
    """A forwarder for a pod, at an address that need not be there yet. Raises OSError where its port is taken."""
    loop = asyncio.get_running_loop()
    with _door(address, socket.SOCK_DGRAM) as datagrams, _door(address, socket.SOCK_STREAM) as streams:
        streams.listen(64)
        async with asyncio.TaskGroup() as tasks:
            forwarder = Forwarder(tasks, pod, ask, servers)
            server = await asyncio.start_server(forwarder.stream, sock=streams)
            try:
                loop.add_reader(datagrams, forwarder.datagram, datagrams)
                yield
            finally:
                loop.remove_reader(datagrams)
                server.close()
                forwarder.close()


def _door(address: str, kind: int) -> socket.socket:
    door = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The pod's gateway comes with the pod and goes with it.
        door.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_FREEBIND", 15), 1)
        door.bind((address, PORT))
    except OSError:
        door.close()
        raise
    return door
