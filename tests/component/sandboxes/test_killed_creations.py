"""A controller killed at any await of a container's creation or start: its next life has one container, and the cell no
other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest
from grpclib.client import Channel

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from controller.fleet.cells import Cells
from controller.model.cell import Cell
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes import records
from controller.sandboxes.carried import Carrier
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.container_lifecycle import Containers
from controller.sandboxes.following import Following
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.ways import Ways
from hostkit.tasks import Finishing
from tests.support.cells_double import CellsDouble, cells
from tests.support.lives import Life, Place
from tests.support.memory_store import MemoryStore

# Turns of the loop after which a call has been heard and its answer is on its way.
HEARD = 30
# Turns of the loop before a cell is asked, in which a store has written.
FOUND = 5
# It is not known, it is to be made, it was not made, it is made, it is started.
MOST_LOOKS = 5
CONFIG = cri.ContainerConfig(
    metadata=cri.ContainerMetadata(name="c"), command=["sleep", "1000"], image=cri.ImageSpec(image="i")
)


class WaitingStore(MemoryStore):
    """Takes its time before each write and after it."""

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        await asyncio.sleep(0)
        revision = await super().put(kind, key, value, expected=expected)
        await asyncio.sleep(0)
        return revision

    def containers(self) -> dict[str, ContainerRecord]:
        """The records of containers, by id."""
        kept = [stored.value for (kind, _), stored in self.records.items() if kind == records.containers("shim")]
        return {one.id: one for one in (msgspec.msgpack.decode(value, type=ContainerRecord) for value in kept)}


class WayToCells:
    """The way to cells of which it takes a few turns to find the connection."""

    def __init__(self, fleet: CellsDouble) -> None:
        self._fleet = fleet

    def get(self, name: CellName) -> Cell | None:
        return self._fleet.get(name)

    async def connected(self, name: CellName) -> Channel:
        for _ in range(FOUND):
            await asyncio.sleep(0)
        return await self._fleet.connected(name)


class OneLife:
    """What a controller has of its sandboxes, in one life."""

    def __init__(self, fleet: CellsDouble, store: WaitingStore, tasks: asyncio.TaskGroup) -> None:
        carrier, way = Carrier(b"key"), cast("Cells", WayToCells(fleet))
        self.memory = Memory(store, Finishing(tasks), "shim")
        self.following = Following(tasks, way, self.memory, Ways(carrier))
        self.containers = Containers(way, self.memory, self.following, carrier, None)

    async def create(self, sandbox: str) -> str:
        return await self.containers.create(cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=CONFIG), CONFIG)


@asynccontextmanager
async def life(fleet: CellsDouble, store: WaitingStore) -> AsyncGenerator[OneLife]:
    async with asyncio.TaskGroup() as tasks:
        one = OneLife(fleet, store, tasks)
        await one.memory.load()
        yield one
        await one.following.close()


async def with_sandbox(fleet: CellsDouble, store: WaitingStore, name: str = "u") -> tuple[Cell, SandboxRecord]:
    """A new cell with a sandbox that is known, and no container."""
    pod = PodRef(uid=PodUid(name), namespace="default", name=name)
    cell = await fleet.claim(PodClaim(pod=pod, demand=Demand(cpu_millis=1, memory_mib=1)))
    config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(uid=name))
    sandbox = await OneCell(cast("Cells", fleet), cell.name).run_sandbox(config, "", lambda _: False)
    status = cri.PodSandboxStatus(id=sandbox, state=cri.SANDBOX_READY).SerializeToString()
    record = SandboxRecord(id=sandbox, cell=cell.name, uid=name, attempt=0, config=b"", status=status)
    async with life(fleet, store) as one:
        await one.memory.put_sandbox(record)
    return cell, record


def redialled(fleet: CellsDouble, cell: Cell) -> None:
    """The connections of a process end with it."""
    fleet.channels[cell.name].close()
    fleet.channels[cell.name] = MendedChannel(CELL, path=str(fleet.folder / f"{cell.name}.sock"))


async def create_and_start(fleet: CellsDouble, store: WaitingStore, sandbox: str) -> None:
    async with life(fleet, store) as one:
        await one.containers.start(await one.create(sandbox))


async def as_a_kubelet_does(one: OneLife, sandbox: str) -> None:
    """Look what there is until a container runs: one that is not known is made under the same name and attempt, one
    that was made is started.
    """
    for _ in range(MOST_LOOKS):
        known = [record.id for record in one.memory.containers_of(sandbox)]
        if known and not one.memory.is_in(known[0], cri.CONTAINER_CREATED):
            return
        try:
            if known:
                await one.containers.start(known[0])
            else:
                await one.create(sandbox)
        except Fault as fault:
            assert fault.kind is Kind.NOT_FOUND, fault  # it was never made
    raise AssertionError(f"no container runs after {MOST_LOOKS} looks")


def of_a_creation(place: Place) -> bool:
    functions = {step.rpartition(" ")[2] for step in place}
    return bool(functions & {"create", "start", "_settle"})


@pytest.mark.parametrize("asked", ["when the cell was asked", "before the cell is asked"])
async def test_a_controller_killed_at_any_await_of_a_creation_leaves_one_container(asked: str) -> None:
    left: set[tuple[bool, ...]] = set()
    async with cells() as fleet:
        whole, store = Life(of_a_creation), WaitingStore()
        _, record = await with_sandbox(fleet, store, "whole")
        await whole.live(create_and_start(fleet, store, record.id))
        assert len(whole.seen) >= 6, "an await of a creation is not seen"
        for number, (place, times) in enumerate(whole.seen.items()):
            for turns in (0, 1, HEARD):
                for time in range(1, times + 1):
                    store = WaitingStore()
                    cell, record = await with_sandbox(fleet, store, f"{number}-{turns}-{time}")
                    await Life(of_a_creation, place, time, turns).live(create_and_start(fleet, store, record.id))
                    redialled(fleet, cell)
                    double = fleet.doubles[cell.name]
                    there = OneCell(cast("Cells", fleet), cell.name)
                    on_cell = {one.id for one in await there.containers(record.id)}
                    written = store.containers()
                    left.add((bool(on_cell), bool(written), any(one.made for one in written.values())))
                    async with life(fleet, store) as one:
                        if asked == "when the cell was asked":
                            await one.following.refresh(record)
                            assert {each.id for each in one.memory.containers_of(record.id)} == on_cell & set(written)
                        await as_a_kubelet_does(one, record.id)
                        await one.following.refresh(record)
                        (known,) = one.memory.containers_of(record.id)
                        assert list(double.containers) == [known.id] == list(store.containers()), place
                        told = cri.ContainerStatus.FromString(known.status)
                        assert (told.state, told.image_id) == (cri.CONTAINER_RUNNING, "i")
                        assert told.created_at == double.containers[known.id].status.created_at
    wanted = {(False, False, False), (False, True, False), (True, True, False), (True, True, True)}
    assert wanted <= left, "killed before anything, with only the intent, with the container, and with it running"


class UnwillingStore(WaitingStore):
    """Writes nothing before it is told to, and then refuses what it is told to refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.refuses: Fault | None = None

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if kind == records.containers("shim"):
            self.asked.set()
            await self.go.wait()
            if self.refuses is not None:
                raise self.refuses
        return await super().put(kind, key, value, expected=expected)


async def test_what_a_cell_refuses_to_make_is_not_kept() -> None:
    store = WaitingStore()
    async with cells() as fleet:
        _, record = await with_sandbox(fleet, store)
        async with life(fleet, store) as one:
            first = await one.create(record.id)
            with pytest.raises(Fault) as told:
                await one.create(record.id)
            assert told.value.kind is Kind.EXISTS
        assert list(store.containers()) == [first]


async def test_a_container_is_told_of_once_it_is_made_and_stored() -> None:
    store = UnwillingStore()
    async with cells() as fleet:
        cell, record = await with_sandbox(fleet, store)
        async with life(fleet, store) as one, asyncio.TaskGroup() as tasks:
            creating = tasks.create_task(one.create(record.id))
            while not fleet.doubles[cell.name].containers:
                await asyncio.sleep(0)
            assert not creating.done()
            assert not one.memory.containers_of(record.id)
            store.go.set()
            made = await creating
            assert [each.id for each in one.memory.containers_of(record.id)] == [made]


async def test_a_container_that_cannot_be_stored_is_made_anew() -> None:
    store = UnwillingStore()
    store.go.set()
    store.refuses = Fault(Kind.UNAVAILABLE, "store", "no space is left on its disk")
    async with cells() as fleet:
        cell, record = await with_sandbox(fleet, store)
        async with life(fleet, store) as one:
            with pytest.raises(Fault) as told:
                await one.create(record.id)
            assert told.value is store.refuses
            assert not one.memory.containers_of(record.id)
            store.refuses = None
            made = await one.create(record.id)
        assert list(fleet.doubles[cell.name].containers) == [made] == list(store.containers())


async def test_one_who_leaves_while_the_cell_is_asked_leaves_no_record() -> None:
    store = UnwillingStore()
    async with cells() as fleet:
        _, record = await with_sandbox(fleet, store)
        async with life(fleet, store) as one, asyncio.TaskGroup() as tasks:
            fleet.cut_off.add(record.cell)
            creating = tasks.create_task(one.create(record.id))
            await store.asked.wait()
            creating.cancel()
            await asyncio.wait([creating])
            store.go.set()
        assert not store.containers()


async def test_what_was_to_be_made_in_a_sandbox_that_is_gone_is_forgotten() -> None:
    store = WaitingStore()
    async with cells() as fleet:
        _, record = await with_sandbox(fleet, store)
        async with life(fleet, store) as one:
            await one.create(record.id)
            await one.memory.forget_sandbox(record)
            lost = ContainerRecord(id="lost", sandbox=record.id, cell=record.cell, status=b"")
            await one.memory.intend_container(lost)
        assert list(store.containers()) == ["lost"]
        async with life(fleet, store) as one:
            assert not one.memory.knows("lost")
        assert not store.containers()


async def test_what_was_to_be_made_is_settled_by_asking_its_cell() -> None:
    store = WaitingStore()
    async with cells() as fleet:
        _, record = await with_sandbox(fleet, store)
        async with life(fleet, store) as one:
            made = await one.create(record.id)
            never = ContainerRecord(id="never", sandbox=record.id, cell=record.cell, status=b"")
            await one.memory.intend_container(never)
        async with life(fleet, store) as one:
            assert one.memory.knows("never")
            await one.containers.settle(record.id)
            assert [each.id for each in one.memory.containers_of(record.id)] == [made]
        assert {name: each.made for name, each in store.containers().items()} == {made: True}
