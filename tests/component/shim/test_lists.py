"""The shim's lists over its socket: every filter, and streams of several messages that say what a list says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from controller.fleet.cells import Cells
from controller.model.names import CellName
from controller.sandboxes import records
from controller.sandboxes.carried import Carrier
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.ways import Ways
from controller.shim import room
from controller.shim.replies import PAGE
from tests.support.cells_double import cells, demand_of
from tests.support.memory_store import MemoryStore

PODS, EACH = PAGE + 3, 2


def sandbox_id(number: int) -> str:
    return f"{number:06d}" + "5" * 58


def container_id(number: int, which: int) -> str:
    return f"{which}{number:06d}" + "c" * 57


async def fill(store: MemoryStore) -> None:
    """Pods of an earlier life: every third is stopped, with containers that have ended."""
    for number in range(PODS):
        over = number % 3 == 0
        labels = {"app": f"a{number % 2}", "number": str(number)}
        sandbox = cri.PodSandboxStatus(
            id=sandbox_id(number), state=cri.SANDBOX_NOTREADY if over else cri.SANDBOX_READY, labels=labels
        )
        record = SandboxRecord(
            id=sandbox.id, cell=CellName(f"c-{number}"), uid=str(number), attempt=0, config=b"", released=True,
            status=sandbox.SerializeToString(),
        )  # fmt: skip
        await store.put(records.sandboxes("shim"), record.id, msgspec.msgpack.encode(record))
        for which in range(EACH):
            container = cri.ContainerStatus(
                id=container_id(number, which), labels={"which": str(which)},
                state=cri.CONTAINER_EXITED if over else cri.CONTAINER_RUNNING,
            )  # fmt: skip
            made = ContainerRecord(
                id=container.id, sandbox=record.id, cell=record.cell, status=container.SerializeToString()
            )
            await store.put(records.containers("shim"), made.id, msgspec.msgpack.encode(made))


@asynccontextmanager
async def shim(folder: Path) -> AsyncGenerator[runtime_grpc.RuntimeServiceStub]:
    store = MemoryStore()
    await fill(store)
    settings = room.ShimSettings(socket=folder / "s", folder=folder / "shim", pods_folder=str(folder / "pods"))
    async with (
        cells() as fleet,
        room.running(settings, cast("Cells", fleet), store, room.PodLookups(demand_of), Ways(Carrier(b"key"))),
    ):
        channel = MendedChannel(CELL, path=str(folder / "s"))
        try:
            yield runtime_grpc.RuntimeServiceStub(channel)
        finally:
            channel.close()


async def sandboxes(stub: runtime_grpc.RuntimeServiceStub, **wanted: Any) -> set[str]:
    chosen = cri.PodSandboxFilter(**wanted)
    listed = await call(stub.ListPodSandbox, cri.ListPodSandboxRequest(filter=chosen), deadline=10)
    streamed = await stub.StreamPodSandboxes(cri.StreamPodSandboxesRequest(filter=chosen))
    assert [one for reply in streamed for one in reply.pod_sandboxes] == list(listed.items)
    assert len(streamed) == -(-len(listed.items) // PAGE)
    return {one.id for one in listed.items}


async def containers(stub: runtime_grpc.RuntimeServiceStub, **wanted: Any) -> set[str]:
    chosen = cri.ContainerFilter(**wanted)
    listed = await call(stub.ListContainers, cri.ListContainersRequest(filter=chosen), deadline=10)
    streamed = await stub.StreamContainers(cri.StreamContainersRequest(filter=chosen))
    assert [one for reply in streamed for one in reply.containers] == list(listed.containers)
    assert len(streamed) == -(-len(listed.containers) // PAGE)
    return {one.id for one in listed.containers}


async def test_sandboxes_are_listed_by_every_filter_and_streamed_alike(tmp_path: Path) -> None:
    ready = cri.PodSandboxStateValue(state=cri.SANDBOX_READY)
    not_ready = cri.PodSandboxStateValue(state=cri.SANDBOX_NOTREADY)
    async with shim(tmp_path) as stub:
        assert len(await sandboxes(stub)) == PODS
        over = {sandbox_id(number) for number in range(0, PODS, 3)}
        assert await sandboxes(stub, state=not_ready) == over
        odd = {sandbox_id(number) for number in range(1, PODS, 2)}
        assert await sandboxes(stub, label_selector={"app": "a1"}) == odd
        assert await sandboxes(stub, label_selector={"app": "a1"}, state=not_ready) == odd & over
        assert await sandboxes(stub, label_selector={"app": "a1", "number": "4"}) == set()
        assert await sandboxes(stub, id=sandbox_id(7)[:8]) == {sandbox_id(7)}
        assert await sandboxes(stub, id=sandbox_id(7), state=ready, label_selector={"app": "a1"}) == {sandbox_id(7)}
        assert await sandboxes(stub, id=sandbox_id(6), state=ready) == set()


async def test_containers_are_listed_by_every_filter_and_streamed_alike(tmp_path: Path) -> None:
    running = cri.ContainerStateValue(state=cri.CONTAINER_RUNNING)
    async with shim(tmp_path) as stub:
        assert len(await containers(stub)) == PODS * EACH
        first = {container_id(number, 0) for number in range(PODS)}
        assert await containers(stub, label_selector={"which": "0"}) == first
        assert await containers(stub, id="0") == first
        assert await containers(stub, pod_sandbox_id=sandbox_id(4)) == {container_id(4, 0), container_id(4, 1)}
        assert await containers(stub, pod_sandbox_id=sandbox_id(4)[:9], label_selector={"which": "1"}) == {
            container_id(4, 1)
        }
        assert await containers(stub, pod_sandbox_id=sandbox_id(3), state=running) == set()
        assert await containers(stub, state=running, label_selector={"which": "0"}) == {
            container_id(number, 0) for number in range(PODS) if number % 3
        }
        assert await containers(stub, id=container_id(4, 0), pod_sandbox_id=sandbox_id(5)) == set()
