"""The way to the controller that leads, of several: one connection, by which it is watched and called.

Where it ends, or falls silent (a frozen one still acknowledges), the next address is tried, for ever. Calls wait a
while for a connection, so that a change of the leader is a pause; after that they fail in words, and a kubelet asks
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec
import structlog
from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from cellwire.rpc.pinned import SERVER_NAME, endpoint
from cellwire.rpc.reverse import WORKER, calling
from cellwire.worker.v1 import worker_grpc
from cellwire.worker.v1 import worker_pb2 as wire
from controller.clouds.protocol import Login
from controller.model.cell import Cell
from controller.model.names import CellName
from controller.model.pod import PodClaim
from controller.remote.worker_identity import WorkerIdentity
from controller.store.record_store import decode

log = structlog.get_logger()
# Some times what a controller leaves between two words.
SILENCE_SECONDS = 8.0
DIAL_SECONDS = 6.0
AGAIN_SECONDS = 0.5
# A call waits so long for a connection: a kubelet asks again, and is told why before it gives up by itself.
PATIENCE = 20.0
# An instance may take long to boot; who asks has a shorter patience.
CLAIM = 3600.0
DEADLINE = 20.0
# Of the end of a connection under way; anything else the controller has said.
BROKEN = frozenset({Kind.UNREACHABLE})


class Listener(Protocol):
    """Listener to the controller's messages."""

    def begin_list(self) -> None:
        """A new connection is about to tell every cell."""
        ...

    async def heed(self, message: wire.WatchMessage) -> None:
        """One word of the controller's. Raises Fault."""
        ...


class ControllerReach(msgspec.Struct, frozen=True, kw_only=True):
    """Where a controller that leads answers, "" and why not where none does, and how many connections there were."""

    address: str
    why: str
    connections: int


class Central:
    """The connection, at one of the addresses of the controllers."""

    def __init__(self, identity: WorkerIdentity, controllers: Sequence[str]) -> None:
        self._identity = identity
        self._controllers = tuple(controllers)
        self._channel: Channel | None = None
        self._up = asyncio.Event()
        self._why = "it has not been dialled yet"
        self._reached = ""
        self._connections = 0

    def reach(self) -> ControllerReach:
        """How the way to the controller is now."""
        return ControllerReach(
            address=self._reached, why="" if self._reached else self._why, connections=self._connections
        )

    async def stay(self, addresses: Sequence[str], listener: Listener) -> None:
        """Stay connected, for ever. `addresses` are those by which cells reach this worker."""
        watch = wire.WatchRequest(addresses=addresses)
        tries, told = 0, ""
        while True:
            address = self._controllers[tries % len(self._controllers)]
            tries += 1
            try:
                await self._visit(address, watch, listener)
                self._why = f"{address} has ended the connection"
            except Fault as fault:
                self._why = str(fault)
            except TimeoutError:
                self._why = f"{address} has been silent"
            if self._why != told:
                log.warning("no controller; pods run on, new ones wait", cause=self._why)
                told = self._why
            await asyncio.sleep(AGAIN_SECONDS)

    async def claim(self, claim: PodClaim) -> Cell:
        """The cell of a claim. Asked again where a connection breaks. Raises Fault."""
        request = wire.ClaimRequest(claim=msgspec.msgpack.encode(claim))
        while True:
            stub = worker_grpc.WorkersStub(await self._connected())
            try:
                reply = await call(stub.Claim, request, deadline=CLAIM)
            except Fault as fault:
                if fault.kind not in BROKEN:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return decode(reply.cell, Cell)

    async def release(self, cell: CellName, reason: str) -> None:
        """Have a cell retired. Waits for a connection for as long as it takes. Raises Fault."""
        await self._up.wait()
        stub = worker_grpc.WorkersStub(await self._connected())
        await call(stub.Release, wire.ReleaseRequest(cell=cell, reason=reason), deadline=DEADLINE)

    async def login(self, image: str) -> Login | None:
        """See `controller.clouds.protocol.Cloud`."""
        stub = worker_grpc.WorkersStub(await self._connected())
        reply = await call(stub.Login, wire.LoginRequest(image=image), deadline=DEADLINE)
        return Login(username=reply.username, password=reply.password) if reply.username else None

    async def _connected(self) -> Channel:
        try:
            async with asyncio.timeout(PATIENCE):
                while self._channel is None:
                    await self._up.wait()
                return self._channel
        except TimeoutError as error:
            where = ", ".join(self._controllers)
            mend = "pods that run go on; it is dialled again, so ask again"
            raise Fault(Kind.UNAVAILABLE, f"the controller at {where}", self._why, mend) from error

    async def _visit(self, address: str, watch: wire.WatchRequest, listener: Listener) -> None:
        """One connection, to its end. Raises Fault, TimeoutError."""
        host, port = endpoint(address)
        async with calling(host, port, self._identity.calling(WORKER), SERVER_NAME) as channel:
            listener.begin_list()
            try:
                async with asyncio.timeout(DIAL_SECONDS) as limit:
                    async for message in _watched(channel, watch):
                        limit.reschedule(asyncio.get_running_loop().time() + SILENCE_SECONDS)
                        await listener.heed(message)
                        if message.HasField("listed"):
                            self._channel = channel
                            self._up.set()
                            self._reached = address
                            self._connections += 1
                            log.info("connected to the controller", address=address)
            finally:
                self._channel = None
                self._reached = ""
                self._up.clear()


async def _watched(channel: Channel, watch: wire.WatchRequest) -> AsyncIterator[wire.WatchMessage]:
    with translate_errors():
        async with worker_grpc.WorkersStub(channel).Watch.open() as stream:
            await stream.send_message(watch, end=True)
            async for message in stream:
                yield message
