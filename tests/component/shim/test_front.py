"""Two runtimes behind one socket: each call reaches the one that has the pod, and a kubelet sees one list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import RuntimeServiceBase, RuntimeServiceStub
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import serving
from controller.shim import front
from controller.shim.worker_placement import DAEMON_SET, SOURCE, Rules

RULES = Rules(namespaces=frozenset({"kube-system"}), labels={"where": "worker"}, handler="worker")


class Runtime:
    """A runtime of sandboxes that are nothing but a record."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sandboxes: dict[str, cri.PodSandbox] = {}
        self.handlers: list[str] = []
        self.events: asyncio.Queue[str] = asyncio.Queue()

    def service(self) -> Any:
        """What it serves: five calls, and all others are refused."""

        async def missing(_: Any, stream: Any) -> None:
            raise Fault(Kind.UNSUPPORTED, self.name, "it does not do this")

        def handler(name: str) -> Any:
            async def handle(_: Any, stream: Any) -> None:
                await getattr(self, name)(stream)

            return handle

        served = ("RunPodSandbox", "ListPodSandbox", "PodSandboxStatus", "GetContainerEvents", "Version")
        handlers = dict.fromkeys(RuntimeServiceBase.__abstractmethods__, missing) | {
            one: handler(one) for one in served
        }
        return type(self.name, (RuntimeServiceBase,), handlers)()

    async def RunPodSandbox(self, stream: Any) -> None:
        request = await stream.recv_message()
        sandbox = f"{self.name}-{len(self.sandboxes)}"
        self.sandboxes[sandbox] = cri.PodSandbox(id=sandbox, metadata=request.config.metadata)
        self.handlers.append(request.runtime_handler)
        await stream.send_message(cri.RunPodSandboxResponse(pod_sandbox_id=sandbox))

    async def ListPodSandbox(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(cri.ListPodSandboxResponse(items=self.sandboxes.values()))

    async def PodSandboxStatus(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.pod_sandbox_id not in self.sandboxes:
            raise Fault(Kind.NOT_FOUND, f"sandbox {request.pod_sandbox_id}", "there is none")
        status = cri.PodSandboxStatus(id=request.pod_sandbox_id, annotations={"by": self.name})
        await stream.send_message(cri.PodSandboxStatusResponse(status=status))

    async def GetContainerEvents(self, stream: Any) -> None:
        await stream.recv_message()
        while True:
            await stream.send_message(cri.ContainerEventResponse(container_id=await self.events.get()))

    async def Version(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(cri.VersionResponse(runtime_name=self.name))


class Both:
    """The two runtimes, and what a kubelet asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells, self.worker = Runtime("cells"), Runtime("worker")
        self.channel = MendedChannel(CELL, path=str(folder / "front"))
        self.kubelet = RuntimeServiceStub(self.channel)

    async def run(self, namespace: str = "default", handler: str = "", **more: Any) -> str:
        config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="p", uid="u", namespace=namespace), **more)
        request = cri.RunPodSandboxRequest(config=config, runtime_handler=handler)
        return (await call(self.kubelet.RunPodSandbox, request, deadline=10)).pod_sandbox_id

    async def listed(self) -> set[str]:
        said = await call(self.kubelet.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=10)
        return {one.id for one in said.items}


@asynccontextmanager
async def both(folder: Path, *, away: bool = False) -> AsyncGenerator[Both]:
    made = Both(folder)
    socket = folder / ("nobody" if away else "worker")
    async with (
        serving([made.worker.service()], folder / "worker"),
        front.before([made.cells.service()], socket, RULES, made.cells.sandboxes.__contains__) as services,
        serving(services, folder / "front"),
    ):
        try:
            yield made
        finally:
            made.channel.close()


@pytest.mark.parametrize(
    ("namespace", "handler", "more"),
    [
        ("kube-system", "", {}),
        ("default", "worker", {}),
        ("default", "", {"labels": {DAEMON_SET: "1"}}),
        ("default", "", {"labels": {"where": "worker"}}),
        ("default", "", {"annotations": {SOURCE: "file"}}),
    ],
)
async def test_what_the_rules_name_runs_on_the_worker(
    tmp_path: Path, namespace: str, handler: str, more: dict[str, Any]
) -> None:
    async with both(tmp_path) as there:
        assert (await there.run(namespace, handler, **more)).startswith("worker")
        assert there.worker.handlers == [""]
        assert (await there.run("default", "", labels={"where": "else"}, annotations={SOURCE: "api"})).startswith(
            "cells"
        )


async def test_a_kubelet_sees_one_list_and_each_sandbox_where_it_is(tmp_path: Path) -> None:
    async with both(tmp_path) as there:
        here, cell = await there.run("kube-system"), await there.run()
        assert await there.listed() == {here, cell}
        for sandbox, by in ((here, "worker"), (cell, "cells")):
            asked = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
            assert (await call(there.kubelet.PodSandboxStatus, asked, deadline=10)).status.annotations["by"] == by
        with pytest.raises(Fault) as refused:
            await call(there.kubelet.PodSandboxStatus, cri.PodSandboxStatusRequest(pod_sandbox_id="x"), deadline=10)
        assert refused.value.kind is Kind.NOT_FOUND
        assert (await call(there.kubelet.Version, cri.VersionRequest(), deadline=10)).runtime_name == "cells"


async def test_events_of_both_come_by_one_stream(tmp_path: Path) -> None:
    async with both(tmp_path) as there, asyncio.timeout(20):
        there.cells.events.put_nowait("of a cell")
        there.worker.events.put_nowait("of the worker")
        with translate_errors():
            async with there.kubelet.GetContainerEvents.open() as stream:
                await stream.send_message(cri.GetEventsRequest(), end=True)
                seen = {message.container_id for message in [await anext(aiter(stream)), await anext(aiter(stream))]}
                await stream.cancel()
        assert seen == {"of a cell", "of the worker"}


async def test_a_list_without_the_worker_is_no_list_for_its_pods_would_be_made_anew(tmp_path: Path) -> None:
    async with both(tmp_path, away=True) as there:
        await there.run()
        with pytest.raises(Fault) as refused:
            await there.listed()
        assert refused.value.kind is Kind.UNAVAILABLE
