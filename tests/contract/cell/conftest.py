"""Cells that answer one suite: the real agent on a socket; the double that tests of the controller drive, on a socket,
and at home, where the tests of the link have it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpclib.client import Channel
from grpclib.server import Stream

from cellagent.runtime.cell_service import CellService
from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import serving
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from tests.component.link.conftest import Site, until
from tests.component.runtime.conftest import pulled, running_agent
from tests.support.cells_double import cells

__all__ = ["pulled"]


@dataclass
class Peer:
    """One cell, and an image that it has."""

    channel: Channel
    image: str
    logs: Path

    @property
    def runtime(self) -> runtime_grpc.RuntimeServiceStub:
        return runtime_grpc.RuntimeServiceStub(self.channel)

    @property
    def cell(self) -> cell_grpc.CellStub:
        return cell_grpc.CellStub(self.channel)

    def sandbox_config(self, uid: str = "", attempt: int = 0) -> cri.PodSandboxConfig:
        uid = uid or os.urandom(4).hex()
        config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=uid, uid=uid, namespace="test", attempt=attempt),
            hostname="garden",
            log_directory=str(self.logs),
            labels={"io.kubernetes.pod.uid": uid},
        )
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
        return config

    async def sandbox(self, config: cri.PodSandboxConfig | None = None) -> str:
        asked = cri.RunPodSandboxRequest(config=config or self.sandbox_config())
        return (await call(self.runtime.RunPodSandbox, asked, deadline=30)).pod_sandbox_id

    async def create(self, sandbox: str, *command: str, name: str = "main", attempt: int = 0) -> str:
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name=name, attempt=attempt),
            image=cri.ImageSpec(image=self.image),
            command=command,
            log_path=f"{sandbox[:8]}-{name}-{attempt}.log",
        )
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
        asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config)
        return (await call(self.runtime.CreateContainer, asked, deadline=30)).container_id

    async def start(self, container: str) -> None:
        await call(self.runtime.StartContainer, cri.StartContainerRequest(container_id=container), deadline=30)

    async def stop(self, container: str) -> None:
        await call(self.runtime.StopContainer, cri.StopContainerRequest(container_id=container), deadline=30)

    async def status(self, container: str) -> cri.ContainerStatus:
        asked = cri.ContainerStatusRequest(container_id=container)
        return (await call(self.runtime.ContainerStatus, asked, deadline=30)).status

    async def exited(self, container: str) -> cri.ContainerStatus:
        async with asyncio.timeout(30):
            while (status := await self.status(container)).state != cri.CONTAINER_EXITED:
                await asyncio.sleep(0.02)
        return status


Peers = Callable[[], AbstractAsyncContextManager[Peer]]


async def _no_reports(stream: Stream[wire.ReportRequest, wire.ReportMessage]) -> None:
    await asyncio.Event().wait()


@pytest.fixture(params=["agent", "double", "double at home"])
def peers(request: pytest.FixtureRequest, tmp_path: Path) -> Peers:
    """One of those that answer."""
    root, image = tmp_path, ""

    @asynccontextmanager
    async def agent() -> AsyncGenerator[Peer]:
        async with running_agent(root, image, tmp_path) as client:
            service = CellService(client.room, _no_reports, lambda _: None)
            async with serving([client.room.service, service], tmp_path / "cell"):
                channel = MendedChannel(CELL, path=str(tmp_path / "cell"))
                try:
                    yield Peer(channel, image, tmp_path / "logs")
                finally:
                    channel.close()

    @asynccontextmanager
    async def double() -> AsyncGenerator[Peer]:
        async with cells() as fleet:
            pod = PodRef(uid=PodUid("u"), namespace="test", name="p")
            cell = await fleet.claim(PodClaim(pod=pod, demand=Demand(cpu_millis=1, memory_mib=1)))
            yield Peer(fleet.channel(cell.name), "any", tmp_path)

    @asynccontextmanager
    async def at_home() -> AsyncGenerator[Peer]:
        site = Site(tmp_path)
        async with site.open() as link, site.cell(link, "i-1") as (small, _):
            await until(link.connected)
            yield Peer(link.channel(CellName(small.cell)), "any", tmp_path)
        await site.cloud.servers.close_all()

    if request.param == "agent":
        if os.geteuid() != 0:
            pytest.skip("containers need root")
        root, image = request.getfixturevalue("pulled")
    return {"agent": agent, "double": double, "double at home": at_home}[request.param]
