"""What a worker may ask on the link: of its own cells, by its own certificate, for as long as it is not revoked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from grpclib.client import Channel

from cellagent.boot.join import client_context, join
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from cellwire.rpc.limits import FROM_WORKER
from cellwire.rpc.pinned import SERVER_NAME, endpoint
from cellwire.rpc.reverse import TURNED, WORKER, calling, serve_on, worker_host
from cellwire.rpc.serve import prepared
from cellwire.worker.v1 import worker_grpc
from cellwire.worker.v1 import worker_pb2 as wire
from controller.central import worker_service
from controller.central.enrolment_service import WorkerEnrolment
from controller.central.worker_registry import WorkerRegistry
from controller.central.worker_service import WorkerService
from controller.link import port
from controller.link.port import Link, LinkSettings
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.remote import enrolment
from controller.remote import worker_port as cell_port
from controller.remote.worker_identity import WorkerIdentity
from controller.remote.worker_port import CellPort
from tests.component.link.conftest import Site
from tests.support.memory_store import MemoryStore
from tests.support.stranger import claims_without_ends, flood

DEMAND = Demand(cpu_millis=100, memory_mib=64)


def claimed(name: str, by: str) -> Cell:
    """A cell of a pod."""
    pod = PodRef(uid=PodUid(name), namespace="default", name=name)
    claim = PodClaim(pod=pod, demand=DEMAND, by=by)
    return Cell(name=CellName(name), state=CellState.CLAIMED, demand=DEMAND, claim=claim)


@dataclass
class Held:
    """Cells of two workers and of the controller itself, that never change."""

    released: list[str] = field(default_factory=list[str])
    claiming: asyncio.Event = field(default_factory=asyncio.Event)
    launched: asyncio.Event = field(default_factory=asyncio.Event)
    cells: tuple[Cell, ...] = (claimed("c-1", "shim@node-1"), claimed("c-2", "shim@node-2"), claimed("c-0", "shim"))

    def list(self) -> tuple[Cell, ...]:
        return self.cells

    def get(self, name: CellName) -> Cell | None:
        return next((cell for cell in self.cells if cell.name == name), None)

    async def watch(self) -> AsyncIterator[Cell]:
        for cell in self.cells:
            yield cell
        await asyncio.Event().wait()

    async def events(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    async def claim(self, claim: PodClaim) -> Cell:
        self.claiming.set()
        await self.launched.wait()
        self.cells = (*self.cells, claimed(claim.pod.name, claim.by))
        return self.cells[-1]

    async def release(self, name: CellName, reason: str) -> None:
        del reason
        self.released.append(name)


@dataclass
class Place:
    """A link on which workers join."""

    link: Link
    registry: WorkerRegistry
    held: Held
    folder: Path

    async def worker(self, name: str, token: str = "") -> WorkerIdentity:
        """One that has joined."""
        identity = WorkerIdentity(self.folder / name)
        token = token or await self.registry.issue(name, 60)
        fingerprint = self.link.authority.fingerprint
        await enrolment.joined(identity, self.link.controllers, fingerprint, token, lambda: False)
        return identity

    @asynccontextmanager
    async def calls(self, identity: WorkerIdentity) -> AsyncGenerator[worker_grpc.WorkersStub]:
        """Its connection."""
        host, number = endpoint(self.link.controllers[0])
        async with calling(host, number, identity.calling(WORKER), SERVER_NAME) as channel:
            yield worker_grpc.WorkersStub(channel)


async def no_login(image: str) -> None:
    del image


@asynccontextmanager
async def opened(site: Site) -> AsyncGenerator[Place]:
    registry, held = WorkerRegistry(MemoryStore(), time.time), Held()
    calls = WorkerService(registry, lambda: cast("Any", held), lambda: None, no_login)
    settings = LinkSettings(site.folder / "link", "127.0.0.1", 0, ("127.0.0.1",))
    async with port.running(
        settings,
        lambda: site.fleet,
        site.cloud.signer.verify,
        lambda authority, refused: (WorkerEnrolment(authority, registry, refused), calls),
    ) as link:
        yield Place(link, registry, held, site.folder)


async def told_to(stub: worker_grpc.WorkersStub) -> list[str]:
    """The cells of a watch, up to the end of its list."""
    found: list[str] = []
    with translate_errors():
        async with stub.Watch.open() as stream:
            await stream.send_message(wire.WatchRequest(addresses=["127.0.0.1:1"]), end=True)
            async for message in stream:
                if message.HasField("listed"):
                    break
                found.append(msgspec.msgpack.decode(message.cell, type=Cell).name)
            await stream.cancel()
    return found


async def test_a_worker_sees_and_ends_the_cells_that_it_has_claimed(site: Site) -> None:
    async with opened(site) as place, place.calls(await place.worker("node-1")) as stub:
        assert await told_to(stub) == ["c-1"]
        for other in ("c-2", "c-0"):
            with pytest.raises(Fault) as told:
                await call(stub.Release, wire.ReleaseRequest(cell=other, reason="mine"), deadline=10)
            assert told.value.kind is Kind.DENIED
        await call(stub.Release, wire.ReleaseRequest(cell="c-1", reason="over"), deadline=10)
        await call(stub.Release, wire.ReleaseRequest(cell="c-9", reason="unknown is over"), deadline=10)
        assert place.held.released == ["c-1"]


async def watched(stub: worker_grpc.WorkersStub, registry: WorkerRegistry) -> None:
    """A watch by a worker that is revoked meanwhile, to its end."""
    with translate_errors():
        async with stub.Watch.open() as stream:
            await stream.send_message(wire.WatchRequest(addresses=["127.0.0.1:1"]), end=True)
            async for message in stream:
                if message.HasField("listed"):
                    await registry.revoke("node-1")


async def test_a_revoked_worker_is_told_so_on_its_watch_and_calls_and_may_not_renew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_service, "QUIET_SECONDS", 0.05)
    async with opened(site) as place:
        identity = await place.worker("node-1")
        async with place.calls(identity) as stub:
            with pytest.raises(Fault) as told:
                await watched(stub, place.registry)
            assert (told.value.kind, told.value.reason) == (Kind.DENIED, "RevokedWorker")
            with pytest.raises(Fault) as told:
                await call(stub.Login, wire.LoginRequest(image="web"), deadline=10)
            assert told.value.reason == "RevokedWorker"
        host, number = endpoint(place.link.controllers[0])
        async with calling(host, number, identity.calling("h2"), SERVER_NAME) as channel:
            renewal = wire.RenewRequest(signing_request=identity.signing_request())
            with pytest.raises(Fault) as told:
                await call(worker_grpc.WorkerEnrolmentStub(channel).Renew, renewal, deadline=10)
            assert told.value.reason == "RevokedWorker"


async def test_a_cell_that_was_launching_for_a_worker_when_that_was_revoked_is_retired(site: Site) -> None:
    async with opened(site) as place, place.calls(await place.worker("node-1")) as stub:
        pod = PodRef(uid=PodUid("late"), namespace="default", name="late")
        claim = msgspec.msgpack.encode(PodClaim(pod=pod, demand=DEMAND, by="shim"))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(denied(stub, wire.ClaimRequest(claim=claim)))
            await place.held.claiming.wait()
            await place.registry.revoke("node-1")
            place.held.launched.set()
            assert await asked == "RevokedWorker"
        assert place.held.released == ["late"]


async def denied(stub: worker_grpc.WorkersStub, request: wire.ClaimRequest) -> str:
    """Why a claim is refused."""
    with pytest.raises(Fault) as told:
        await call(stub.Claim, request, deadline=10)
    return told.value.reason


async def watching(stub: worker_grpc.WorkersStub, begun: asyncio.Event) -> None:
    """A watch, to its end; `begun` is set once it was told its list."""
    with translate_errors():
        async with stub.Watch.open() as stream:
            await stream.send_message(wire.WatchRequest(addresses=["127.0.0.1:1"]), end=True)
            async for message in stream:
                if message.HasField("listed"):
                    begun.set()


async def test_a_worker_that_watches_anew_has_one_watch_and_another_worker_keeps_its_own(site: Site) -> None:
    begun, other = [asyncio.Event(), asyncio.Event()], asyncio.Event()
    async with opened(site) as place, AsyncExitStack() as stack:
        identity = await place.worker("node-1")
        stubs = [await stack.enter_async_context(place.calls(identity)) for _ in begun]
        beside = await stack.enter_async_context(place.calls(await place.worker("node-2")))
        async with asyncio.TaskGroup() as tasks:
            staying = [tasks.create_task(watching(beside, other))]
            await other.wait()
            former = tasks.create_task(_ended(watching(stubs[0], begun[0])))
            await begun[0].wait()
            staying.append(tasks.create_task(watching(stubs[1], begun[1])))
            await begun[1].wait()
            assert (await former).kind is Kind.UNAVAILABLE
            for each in staying:
                assert not each.done()
                each.cancel()


async def _ended(watch: Coroutine[Any, Any, None]) -> Fault:
    with pytest.raises(Fault) as told:
        await watch
    return told.value


async def test_a_worker_that_asks_without_end_is_answered_as_slowly_and_another_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_service, "CALLS_AT_ONCE", 2.0)
    monkeypatch.setattr(worker_service, "CALLS_EACH_SECOND", 0.001)
    async with opened(site) as place, AsyncExitStack() as stack:
        many = await stack.enter_async_context(place.calls(await place.worker("node-1")))
        one = await stack.enter_async_context(place.calls(await place.worker("node-2")))
        for _ in range(2):
            await call(many.Login, wire.LoginRequest(image="web"), deadline=10)
        with pytest.raises(Fault) as told:
            await call(many.Login, wire.LoginRequest(image="web"), deadline=0.5)
        assert told.value.kind is Kind.TIMEOUT
        await call(one.Login, wire.LoginRequest(image="web"), deadline=10)


async def test_a_worker_whose_calls_never_end_is_cut_off_and_another_is_answered(site: Site) -> None:
    async with opened(site) as place:
        hostile = (await place.worker("node-1")).calling(WORKER)
        most = FROM_WORKER.partial_bytes
        assert most is not None
        async with place.calls(await place.worker("node-2")) as stub, asyncio.TaskGroup() as tasks:
            port = place.link.port
            sending = tasks.create_task(flood("127.0.0.1", port, claims_without_ends, 16 * most, 60, hostile))
            while not sending.done():
                await call(stub.Login, wire.LoginRequest(image="web"), deadline=30)
        assert most // 4 < sending.result() < 4 * most


async def test_a_worker_renews_for_the_key_that_it_has_and_no_other(site: Site) -> None:
    async with opened(site) as place:
        identity, other = await place.worker("node-1"), await place.worker("node-2")
        host, number = endpoint(place.link.controllers[0])
        async with calling(host, number, identity.calling("h2"), SERVER_NAME) as channel:
            stub = worker_grpc.WorkerEnrolmentStub(channel)
            own = wire.RenewRequest(signing_request=identity.signing_request())
            assert (await call(stub.Renew, own, deadline=10)).certificate
            theirs = wire.RenewRequest(signing_request=other.signing_request())
            with pytest.raises(Fault) as told:
                await call(stub.Renew, theirs, deadline=10)
            assert told.value.reason == "AnotherKey"


async def test_a_cell_is_no_worker_and_a_worker_is_no_cell(site: Site) -> None:
    async with opened(site) as place:
        cell, metadata = await site.boot(place.link, "i-1")
        await join(cell, metadata)
        host, number = endpoint(place.link.controllers[0])
        async with calling(host, number, client_context(cell, WORKER), SERVER_NAME) as channel:
            await refused(channel)
        worker = await place.worker("node-1")
        nobody = prepared([], details=True)
        await serve_on(nobody, host, number, worker.calling(TURNED), SERVER_NAME, lambda: None)
        assert not place.link.connected()


async def refused(channel: Channel) -> None:
    """The connection is ended before a call is answered."""
    with pytest.raises(Fault) as told:
        await call(worker_grpc.WorkersStub(channel).Login, wire.LoginRequest(image="web"), deadline=10)
    assert told.value.kind is Kind.UNREACHABLE


async def test_a_worker_lets_in_its_own_cells_which_let_nobody_else_pass_for_it(site: Site) -> None:
    async with opened(site) as place:
        worker, told = await place.worker("node-1"), asyncio.Event()
        cells = CellPort(lambda name: name == "c-i-1", lambda _: False, lambda _: told.set())
        async with cell_port.opened(cells, "127.0.0.1", 0, worker.answering(cell_port.PROTOCOLS)) as number:

            async def dial(instance: str, name: str) -> None:
                cell, metadata = await site.boot(place.link, instance)
                await join(cell, metadata)
                nobody = prepared([], details=True)
                await serve_on(nobody, "127.0.0.1", number, client_context(cell, TURNED), name, lambda: None)

            await dial("i-2", worker_host("node-1"))
            assert not told.is_set(), "it is another worker's"
            with pytest.raises(Fault) as refused:
                await dial("i-3", worker_host("node-2"))
            assert refused.value.kind is Kind.DENIED
            with pytest.raises(Fault) as refused:
                await dial("i-4", SERVER_NAME)
            assert refused.value.kind is Kind.DENIED
            async with asyncio.TaskGroup() as tasks:
                staying = tasks.create_task(dial("i-1", worker_host("node-1")))
                await told.wait()
                assert cells.channels.names() == {"c-i-1"}
                staying.cancel()
