"""ListPodSandbox and ListContainers through the shim with 500 pods known, as a kubelet asks every second.

The pods are records of the shim's store; the daemon's own rooms answer on the socket. There is nothing of containerd's
to compare with: the target is 3 ms for each call, and the ratio is the slower one's median to that.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from bench._counting import Counting
from bench._runtimes import listens, process, until
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from controller.choice import demand
from controller.model.names import CellName
from controller.process import KEPT_BYTES
from controller.sandboxes.carried import Carrier
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.ways import Ways
from controller.shim import room as shim
from controller.store import sqlite
from hostkit import syscalls
from tests.support.cells_double import CellsDouble
from tests.support.memory_store import remembering

PODS = 500
ROUNDS = 300
TARGET_MS = 3.0


async def record(memory: Memory) -> None:
    """500 pods of one container, with the labels and annotations that a kubelet gives."""
    for number in range(PODS):
        uid = f"0b5f7f6e-6a4b-4c6e-9d6c-{number:012d}"
        labels = {
            "app": "web",
            "pod-template-hash": "5d4f8c7b9",
            "io.kubernetes.pod.name": f"web-5d4f8c7b9-{number:05d}",
            "io.kubernetes.pod.namespace": "default",
            "io.kubernetes.pod.uid": uid,
        }
        sandbox, container = f"{number:064x}", f"{number + PODS:064x}"
        status = cri.PodSandboxStatus(
            id=sandbox,
            metadata=cri.PodSandboxMetadata(name=f"web-{number:05d}", uid=uid, namespace="default"),
            state=cri.SANDBOX_READY,
            created_at=time.time_ns(),
            labels=labels,
            annotations={"kubernetes.io/config.seen": "2026-11-24T00:00:00Z", "kubernetes.io/config.source": "api"},
        )
        cell = CellName(f"c-{number}")
        await memory.put_sandbox(
            SandboxRecord(
                id=sandbox, cell=cell, uid=uid, attempt=0, config=b"", status=status.SerializeToString(), released=True
            )
        )
        annotations = {
            "io.kubernetes.container.hash": "a1b2c3d4",
            "io.kubernetes.container.restartCount": "0",
            "io.kubernetes.container.terminationMessagePath": "/dev/termination-log",
            "io.kubernetes.container.terminationMessagePolicy": "File",
            "io.kubernetes.pod.terminationGracePeriod": "30",
        }
        running = cri.ContainerStatus(
            id=container,
            metadata=cri.ContainerMetadata(name="web"),
            state=cri.CONTAINER_RUNNING,
            created_at=time.time_ns(),
            image=cri.ImageSpec(image="sha256:" + "a" * 64),
            image_ref="registry.example/web@sha256:" + "b" * 64,
            labels={**labels, "io.kubernetes.container.name": "web"},
            annotations=annotations,
        )
        await memory.put_container(
            ContainerRecord(id=container, sandbox=sandbox, cell=cell, status=running.SerializeToString())
        )


def timed(work: Callable[[], object]) -> float:
    """Median milliseconds of one call."""
    spent: list[float] = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent) * 1000


async def serve(folder: Path) -> None:
    """The shim as the daemon opens it, over a fleet that is asked nothing."""
    syscalls.keep_freed(KEPT_BYTES)
    async with sqlite.running(folder / "records.sqlite") as store:
        async with remembering(store) as memory:
            await record(memory)
        async with asyncio.TaskGroup() as tasks:
            settings = shim.ShimSettings(socket=folder / "s", folder=folder / "shim", pods_folder=str(folder / "pods"))
            async with shim.running(
                settings, CellsDouble(tasks, folder), store, shim.PodLookups(demand.of_sandbox), Ways(Carrier(b"key"))
            ):
                await asyncio.Event().wait()


async def check(folder: Path) -> None:
    """All pods are told, by a client that reads what it is told."""
    channel = MendedChannel(CELL, path=str(folder / "s"))
    stub = runtime_grpc.RuntimeServiceStub(channel)
    try:
        listed = await call(stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=30)
        running = await call(stub.ListContainers, cri.ListContainersRequest(), deadline=30)
        assert (len(listed.items), len(running.containers)) == (PODS, PODS)
    finally:
        channel.close()


def ask(folder: Path) -> float:
    """Ask as often as a kubelet does, from another process, whose client only counts."""
    client = Counting(folder / "s")
    slowest = 0.0
    try:
        for name in ("ListPodSandbox", "ListContainers"):
            path = f"/runtime.v1.RuntimeService/{name}"
            size = client.call(path, b"")
            spent = timed(partial(client.call, path, b""))
            told = f"{spent:6.2f} ms with {PODS} pods, {size / 1000:.0f} KB"
            print(f"{name:<28} {told}   target {TARGET_MS:.1f} ms", flush=True)
            slowest = max(slowest, spent)
    finally:
        client.close()
    return slowest / TARGET_MS


async def main(folder: Path) -> None:
    """The shim in a process of its own, as the kubelet is."""
    command = [sys.executable, "-m", "bench.poll", "serve", str(folder)]
    async with process(folder / "log", *command):
        await until(lambda: listens(folder / "s"))
        await check(folder)
        print(f"ratio: {await asyncio.to_thread(ask, folder):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(Path(sys.argv[2])))
    else:
        place = Path(tempfile.mkdtemp(prefix="chinampa-bench-"))
        try:
            uvloop.run(main(place))
        finally:
            shutil.rmtree(place)
