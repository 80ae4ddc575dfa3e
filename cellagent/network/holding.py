"""Services that this cell holds: taken from the controller, put into the kernel, and asked for by the pod's names.

The kernel keeps what it holds while no controller is connected; the next one begins with the whole.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from ipaddress import ip_network

from cellagent.network import bridge, cell_network, dialled, service_rules
from cellagent.network.service_rules import Around, Names
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault

log = logging.getLogger(__name__)
# A first packet that comes before its Service is held is sent again a second later: an answer may wait for as long.
PATIENCE = 1.0
# A pod that goes on dialling what no Service has is told of no more often than this.
TOLD_AGAIN = 5.0
# A pod may be quicker than its controller, whose word it then awaits: once, and for no longer than a resolver does.
FIRST_WORD = 3.0
MOST_REMEMBERED = 4096
MOST_WAITING = 256
# The kernel's own words can be as long as what it was told.
LONGEST_CAUSE = 1000
Send = Callable[[wire.ServicesOutput], Awaitable[None]]


class Holding:
    """The owner of the cell's table of Services. `pod` is the pod's address, without its length, and `pod6` that of
    IPv6, if it has one.
    """

    def __init__(self, pod: str, pod6: str = "") -> None:
        self.pod = pod
        self._pods = (pod, pod6) if pod6 else (pod,)
        self._held: dict[str, wire.HeldService] = {}
        self._names: Names | None = None
        self._start = wire.ServicesStart()
        self._networks: tuple[str, ...] = ()
        self._hears = False
        self._dialled: dict[str, float] = {}
        self._started = asyncio.Event()
        self._first_question: float | None = None
        self._applied = 0
        self._news = asyncio.Event()
        self._changing = asyncio.Lock()
        self._out: asyncio.Queue[wire.ServicesOutput] | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[wire.NameAnswer]] = {}
        self._remembered: dict[tuple[str, int], tuple[float, wire.NameAnswer]] = {}

    @property
    def name_server(self) -> str:
        """The cluster's name server; "" where there is none."""
        return self._start.name_server

    async def serve(self, start: wire.ServicesStart, inputs: AsyncIterator[wire.ServicesInput], send: Send) -> None:
        """One controller's stream, to its end: what it says is taken, what the pod asks sent. The newest is asked."""
        self._start = start
        self._networks = _networks(start.networks)
        self._started.set()
        self._out = out = asyncio.Queue[wire.ServicesOutput](MOST_WAITING)
        self._remembered.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(_sent(out, send))
                await self._take(inputs, out)
                sending.cancel()
        finally:
            if self._out is out:
                self._out = None

    async def watch(self) -> None:
        """Ask for Services that the pod dials without asking for their names, for ever."""
        with dialled.heard(self._tell_dialled) as self._hears:
            await asyncio.Event().wait()

    def _tell_dialled(self, address: str) -> None:
        now = time.monotonic()
        if self._out is None or self._out.full() or self._dialled.get(address, 0.0) > now:
            return
        if len(self._dialled) >= MOST_REMEMBERED:
            self._dialled.clear()
        self._dialled[address] = now + TOLD_AGAIN
        self._out.put_nowait(wire.ServicesOutput(dialled=address))

    async def ask(self, name: str, type_: int) -> wire.NameAnswer | None:
        """What the controller says to a name; None where it is none of Services', or nobody is there to say."""
        if not self._started.is_set():
            await self._first_word()
        if not self._ours(name):
            return None
        known = self._remembered.get((name, type_))
        if known is not None and known[0] > time.monotonic():
            return known[1]
        if self._out is None or len(self._waiting) >= MOST_WAITING:
            return None if self.name_server else wire.NameAnswer(known=True, code=2)
        number = next(self._ids) & 0xFFFFFFFF
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._out.put(wire.ServicesOutput(question=wire.NameQuestion(id=number, name=name, type=type_)))
                said = await waiting
                await self._until(said.sequence)
        except TimeoutError:
            return None if self.name_server else wire.NameAnswer(known=True, code=2)
        finally:
            del self._waiting[number]
        self._remember(name, type_, said)
        return said

    async def _first_word(self) -> None:
        if self._first_question is None:
            self._first_question = time.monotonic()
        try:
            async with asyncio.timeout(self._first_question + FIRST_WORD - time.monotonic()):
                await self._started.wait()
        except TimeoutError:
            return

    def _ours(self, name: str) -> bool:
        domain = self._start.domain
        if not domain:
            return False
        return name == domain or name.endswith((f".{domain}", ".in-addr.arpa", ".ip6.arpa"))

    async def _take(self, inputs: AsyncIterator[wire.ServicesInput], out: asyncio.Queue[wire.ServicesOutput]) -> None:
        async for said in inputs:
            match said.WhichOneof("input"):
                case "changes":
                    await out.put(await self._change(said.changes))
                case "answer":
                    waiting = self._waiting.get(said.answer.id)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(said.answer)
                case _:
                    continue

    async def _change(self, changes: wire.ServiceChanges) -> wire.ServicesOutput:
        wanted = {} if changes.whole else dict(self._held)
        for name in changes.gone:
            wanted.pop(name, None)
        try:
            wanted |= {one.name: service_rules.checked(one) for one in changes.services}
            async with self._changing:
                await self._apply(wanted)
        except Fault as fault:
            log.warning("Services could not be changed: %s", fault)
            return wire.ServicesOutput(failure=wire.SessionFailure(message=str(fault)[:LONGEST_CAUSE]))
        self._applied = changes.sequence
        self._remembered.clear()
        self._news.set()
        self._news = asyncio.Event()
        return wire.ServicesOutput(applied=changes.sequence)

    async def _apply(self, wanted: dict[str, wire.HeldService]) -> None:
        networks = self._networks if self._hears else ()
        if not wanted and not networks and self._names is None and not await cell_network.ruled(service_rules.TABLE):
            return  # a cell without Services has no rules for them
        if len(fit := service_rules.fitting(wanted)) < len(wanted):
            log.warning(
                "too many backends: these Services are not held: %s", ", ".join(sorted(wanted.keys() - set(fit)))
            )
        around = Around(pods=self._pods, name_server=self.name_server, resolver=cell_network.GATEWAY, networks=networks)
        text, names = service_rules.transaction(wanted, self._names, around)
        try:
            await bridge.filters(text, needed="Services")
        except Fault:
            # Somebody else may have taken away what was there: from the beginning, then.
            self._names = None
            text, names = service_rules.transaction(wanted, None, around)
            await bridge.filters(text, needed="Services")
        self._held, self._names = wanted, names

    async def restore(self) -> None:
        """Put the kernel's table back, if somebody has taken it away. Raises Fault."""
        async with self._changing:
            if self._names is None or await cell_network.ruled(service_rules.TABLE):
                return
            log.warning("Services that somebody has taken from the kernel are put back")
            self._names = None
            await self._apply(self._held)

    async def _until(self, sequence: int) -> None:
        while self._applied < sequence:
            await self._news.wait()

    def _remember(self, name: str, type_: int, said: wire.NameAnswer) -> None:
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        # In a cluster the answer is "the cluster is asked", which stays so as long as the Service is held.
        seconds = min((record.ttl for record in said.records), default=5) if said.known else 30
        self._remembered[name, type_] = (time.monotonic() + seconds, said)


def _networks(told: Iterable[str]) -> tuple[str, ...]:
    """The networks among these texts."""
    found: list[str] = []
    for one in told:
        with suppress(ValueError):
            found.append(str(ip_network(one)))
    return tuple(found)


async def _sent(out: asyncio.Queue[wire.ServicesOutput], send: Send) -> None:
    while True:
        await send(await out.get())
