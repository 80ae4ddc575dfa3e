"""Sandboxes on an instance that will be taken, with cells that are doubles and no kubelet that would act."""

from __future__ import annotations

import asyncio
from typing import cast

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from controller.fleet.cells import Cells
from controller.model.cell import NoticeKind
from controller.model.names import PodUid
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes.carried import Carrier
from controller.sandboxes.interruption import GRACE
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.room import running as opened
from controller.sandboxes.ways import Ways
from tests.support.cells_double import CellsDouble, cells, demand_of
from tests.support.memory_store import MemoryStore


async def running_container(fleet: CellsDouble, memory: Memory) -> str:
    """A pod of one container that says goodbye, as the shim knows it."""
    claim = PodClaim(pod=PodRef(uid=PodUid("u"), namespace="default", name="p"), demand=demand_of(None), by="shim")
    cell = await fleet.claim(claim)
    stub = runtime_grpc.RuntimeServiceStub(fleet.channel(cell.name))
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="c"),
        command=["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.02; done"],
    )
    pod = cri.RunPodSandboxRequest(config=cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(uid="u")))
    sandbox = (await call(stub.RunPodSandbox, pod, deadline=5)).pod_sandbox_id
    asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config)
    container = (await call(stub.CreateContainer, asked, deadline=5)).container_id
    await call(stub.StartContainer, cri.StartContainerRequest(container_id=container), deadline=5)
    await asyncio.sleep(0.2)  # the shell sets its trap
    ready = cri.PodSandboxStatus(id=sandbox, state=cri.SANDBOX_READY).SerializeToString()
    await memory.put_sandbox(SandboxRecord(id=sandbox, cell=cell.name, uid="u", attempt=0, config=b"", status=ready))
    running = cri.ContainerStatus(id=container, state=cri.CONTAINER_RUNNING, annotations={GRACE: "1"})
    await memory.put_container(
        ContainerRecord(id=container, sandbox=sandbox, cell=cell.name, status=running.SerializeToString())
    )
    return container


async def test_without_a_kubelet_the_containers_are_ended_while_a_whole_grace_period_fits() -> None:
    async with cells() as fleet, opened(cast("Cells", fleet), MemoryStore(), Ways(Carrier(b"key")), "shim") as room:
        memory = room.memory
        container = await running_container(fleet, memory)
        (cell,) = fleet.cells

        fleet.announce(cell, NoticeKind.INTERRUPTION, 12.0)
        async with asyncio.timeout(20):
            while memory.container_list(cri.ContainerFilter()).message.containers[0].state != cri.CONTAINER_EXITED:
                await asyncio.sleep(0.05)

        assert memory.sandbox_list(cri.PodSandboxFilter()).message.items[0].state == cri.SANDBOX_NOTREADY
        status = cri.ContainerStatus.FromString(memory.container(container).status)
        assert (status.exit_code, status.reason) == (5, "Interrupted")
        assert "will be reclaimed" in status.message
