"""A record of a container that its cell does not have hides nothing of the others."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.model.names import PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes.carried import Carrier
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.container_lifecycle import Containers
from controller.sandboxes.following import Following
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.ways import Ways
from tests.support.cells_double import cells
from tests.support.memory_store import MemoryStore, remembering

POD = PodRef(uid=PodUid("u"), namespace="default", name="p")


async def nothing() -> tuple[str, ...]:
    return ()


class Slow(MemoryStore):
    """Takes no record of a container before it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if "container" in kind:
            self.asked.set()
            await self.go.wait()
        return await super().put(kind, key, value, expected=expected)


async def test_a_container_that_its_cell_does_not_know_has_ended_and_the_others_are_followed() -> None:
    async with cells() as fleet, remembering() as memory, asyncio.TaskGroup() as tasks:
        cell = await fleet.claim(PodClaim(pod=POD, demand=Demand(cpu_millis=1, memory_mib=1)))
        there = OneCell(cast("Cells", fleet), cell.name)
        config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(uid="u"))
        sandbox = await there.run_sandbox(config, "", lambda _: False)
        wanted = cri.ContainerConfig(metadata=cri.ContainerMetadata(name="c"), command=["sleep", "1000"])
        asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=wanted)
        made = await there.make_container(wire.MakeContainerRequest(container_id="c" * 64, asked=asked), nothing)
        container = made.id
        await there.start_container(container)

        ready = cri.PodSandboxStatus(id=sandbox, state=cri.SANDBOX_READY).SerializeToString()
        record = SandboxRecord(id=sandbox, cell=cell.name, uid="u", attempt=0, config=b"", status=ready)
        await memory.put_sandbox(record)
        for name in ("0-ghost", container):  # the ghost is asked about first
            status = cri.ContainerStatus(id=name, state=cri.CONTAINER_RUNNING).SerializeToString()
            await memory.put_container(ContainerRecord(id=name, sandbox=sandbox, cell=cell.name, status=status))
        states: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        memory.listen(lambda event: states.put_nowait((event.container_id, event.container_event_type)))
        following = Following(tasks, cast("Cells", fleet), memory, Ways(Carrier(b"key")))
        following.take_up()
        assert await states.get() == ("0-ghost", cri.CONTAINER_STOPPED_EVENT)
        ghost = cri.ContainerStatus.FromString(memory.container("0-ghost").status)
        assert (ghost.state, ghost.exit_code, ghost.reason) == (cri.CONTAINER_EXITED, 137, "ContainerStatusUnknown")

        await there.stop_container(container, 0)
        assert await states.get() == (container, cri.CONTAINER_STOPPED_EVENT)
        await following.close()


async def test_who_leaves_while_its_container_is_written_down_and_asks_again_leaves_no_ghost() -> None:
    store = Slow()
    async with cells() as fleet, remembering(store) as memory, asyncio.TaskGroup() as tasks:
        cell = await fleet.claim(PodClaim(pod=POD, demand=Demand(cpu_millis=1, memory_mib=1)))
        way, carrier = cast("Cells", fleet), Carrier(b"key")
        there = OneCell(way, cell.name)
        config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(uid="u"))
        sandbox = await there.run_sandbox(config, "", lambda _: False)
        ready = cri.PodSandboxStatus(id=sandbox, state=cri.SANDBOX_READY).SerializeToString()
        await memory.put_sandbox(
            SandboxRecord(id=sandbox, cell=cell.name, uid="u", attempt=0, config=b"", status=ready)
        )
        containers = Containers(way, memory, Following(tasks, way, memory, Ways(carrier)), carrier, None)
        wanted = cri.ContainerConfig(metadata=cri.ContainerMetadata(name="c"), command=["sleep", "1000"])
        asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=wanted)
        first = tasks.create_task(containers.create(asked, wanted))
        await store.asked.wait()
        first.cancel()
        asyncio.get_running_loop().call_later(0.2, store.go.set)
        with pytest.raises(Fault) as told:
            await containers.create(asked, wanted)
        assert told.value.kind is Kind.EXISTS
        (known,) = memory.containers_of(sandbox)
        assert [one.id for one in await there.containers(sandbox)] == [known.id]
