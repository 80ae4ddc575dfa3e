"""CRI v1 for a kubelet: each handler is a question to memory or one named step on a sandbox, container or image.

Nothing that a kubelet polls crosses the network.
"""

from __future__ import annotations

import asyncio
import json
import time

from grpclib.server import Stream

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.written import Written
from cellwire.stream.session import SessionRequest
from cellwire.stream.streaming_server import StreamingServer
from cellwire.version import VERSION as RELEASE
from controller.sandboxes.room import SandboxRoom
from controller.sandboxes.stats import Stats
from controller.shim.abilities import Abilities
from controller.shim.container_creation import Creating
from controller.shim.replies import answer, pages
from controller.shim.sandboxes import SandboxCalls
from controller.shim.stats_calls import StatsCalls

# The kubelet compares this word for word: it is the version of its own old API, not of CRI.
KUBELET_API = "0.1.0"
# What is left of the caller's deadline when we answer with the reason instead.
MARGIN = 2.0
RUN_PATIENCE = 230.0
EVENTS_KEPT = 1000


class ShimRuntimeService(StatsCalls):
    """RuntimeService for a kubelet."""

    def __init__(
        self,
        room: SandboxRoom,
        stats: Stats,
        sandboxes: SandboxCalls,
        creating: Creating,
        streaming: StreamingServer,
        abilities: Abilities,
    ) -> None:
        super().__init__(room.memory, stats)
        self._abilities = abilities
        self._room = room
        self._sandboxes = sandboxes
        self._creating = creating
        self._streaming = streaming

    async def Version(self, stream: Stream[cri.VersionRequest, cri.VersionResponse]) -> None:
        await stream.recv_message()
        await stream.send_message(
            cri.VersionResponse(
                version=KUBELET_API, runtime_name="chinampa", runtime_version=RELEASE, runtime_api_version="v1"
            )
        )

    async def RunPodSandbox(self, stream: Stream[cri.RunPodSandboxRequest, cri.RunPodSandboxResponse]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        left = stream.deadline.time_remaining() if stream.deadline else RUN_PATIENCE
        sandbox_id = await self._sandboxes.run(request.config, request.runtime_handler, max(left - MARGIN, 0.1))
        await stream.send_message(cri.RunPodSandboxResponse(pod_sandbox_id=sandbox_id))

    async def StopPodSandbox(self, stream: Stream[cri.StopPodSandboxRequest, cri.StopPodSandboxResponse]) -> None:
        async def stop(request: cri.StopPodSandboxRequest) -> cri.StopPodSandboxResponse:
            await self._sandboxes.stop(request.pod_sandbox_id)
            return cri.StopPodSandboxResponse()

        await answer(stream, stop)

    async def RemovePodSandbox(self, stream: Stream[cri.RemovePodSandboxRequest, cri.RemovePodSandboxResponse]) -> None:
        async def remove(request: cri.RemovePodSandboxRequest) -> cri.RemovePodSandboxResponse:
            await self._sandboxes.remove(request.pod_sandbox_id)
            return cri.RemovePodSandboxResponse()

        await answer(stream, remove)

    async def PodSandboxStatus(self, stream: Stream[cri.PodSandboxStatusRequest, cri.PodSandboxStatusResponse]) -> None:
        async def status(request: cri.PodSandboxStatusRequest) -> cri.PodSandboxStatusResponse:
            record = self._memory.sandbox(request.pod_sandbox_id)
            containers = self._memory.containers_of(record.id)
            return cri.PodSandboxStatusResponse(
                status=cri.PodSandboxStatus.FromString(record.status),
                info=self._sandboxes.info(record.cell) if request.verbose else {},
                containers_statuses=[cri.ContainerStatus.FromString(one.status) for one in containers],
                timestamp=time.time_ns(),
            )

        await answer(stream, status)

    async def ListPodSandbox(self, stream: Stream[cri.ListPodSandboxRequest, cri.ListPodSandboxResponse]) -> None:
        async def listed(request: cri.ListPodSandboxRequest) -> Written[cri.ListPodSandboxResponse]:
            return self._memory.sandbox_list(request.filter)

        await answer(stream, listed)

    async def StreamPodSandboxes(
        self, stream: Stream[cri.StreamPodSandboxesRequest, cri.StreamPodSandboxesResponse]
    ) -> None:
        request = await stream.recv_message()
        if request is not None:
            for page in pages(tuple(self._memory.sandbox_list(request.filter).message.items)):
                await stream.send_message(cri.StreamPodSandboxesResponse(pod_sandboxes=page))

    async def CreateContainer(self, stream: Stream[cri.CreateContainerRequest, cri.CreateContainerResponse]) -> None:
        async def create(request: cri.CreateContainerRequest) -> cri.CreateContainerResponse:
            return cri.CreateContainerResponse(container_id=await self._creating.create(request))

        await answer(stream, create)

    async def StartContainer(self, stream: Stream[cri.StartContainerRequest, cri.StartContainerResponse]) -> None:
        async def start(request: cri.StartContainerRequest) -> cri.StartContainerResponse:
            await self._room.containers.start(request.container_id)
            return cri.StartContainerResponse()

        await answer(stream, start)

    async def StopContainer(self, stream: Stream[cri.StopContainerRequest, cri.StopContainerResponse]) -> None:
        async def stop(request: cri.StopContainerRequest) -> cri.StopContainerResponse:
            await self._room.containers.stop(request.container_id, request.timeout)
            return cri.StopContainerResponse()

        await answer(stream, stop)

    async def RemoveContainer(self, stream: Stream[cri.RemoveContainerRequest, cri.RemoveContainerResponse]) -> None:
        async def remove(request: cri.RemoveContainerRequest) -> cri.RemoveContainerResponse:
            await self._room.containers.remove(request.container_id)
            return cri.RemoveContainerResponse()

        await answer(stream, remove)

    async def ListContainers(self, stream: Stream[cri.ListContainersRequest, cri.ListContainersResponse]) -> None:
        async def listed(request: cri.ListContainersRequest) -> Written[cri.ListContainersResponse]:
            return self._memory.container_list(request.filter)

        await answer(stream, listed)

    async def StreamContainers(self, stream: Stream[cri.StreamContainersRequest, cri.StreamContainersResponse]) -> None:
        request = await stream.recv_message()
        if request is not None:
            for page in pages(tuple(self._memory.container_list(request.filter).message.containers)):
                await stream.send_message(cri.StreamContainersResponse(containers=page))

    async def ContainerStatus(self, stream: Stream[cri.ContainerStatusRequest, cri.ContainerStatusResponse]) -> None:
        async def status(request: cri.ContainerStatusRequest) -> cri.ContainerStatusResponse:
            record = self._memory.container(request.container_id)
            return cri.ContainerStatusResponse(
                status=cri.ContainerStatus.FromString(record.status),
                info={"cell": record.cell} if request.verbose else {},
            )

        await answer(stream, status)

    async def UpdateContainerResources(
        self, stream: Stream[cri.UpdateContainerResourcesRequest, cri.UpdateContainerResourcesResponse]
    ) -> None:
        async def update(request: cri.UpdateContainerResourcesRequest) -> cri.UpdateContainerResourcesResponse:
            await self._room.containers.update(request)
            return cri.UpdateContainerResourcesResponse()

        await answer(stream, update)

    async def ReopenContainerLog(
        self, stream: Stream[cri.ReopenContainerLogRequest, cri.ReopenContainerLogResponse]
    ) -> None:
        async def reopen(request: cri.ReopenContainerLogRequest) -> cri.ReopenContainerLogResponse:
            self._room.following.reopen_log(self._memory.container(request.container_id).id)
            return cri.ReopenContainerLogResponse()

        await answer(stream, reopen)

    async def ExecSync(self, stream: Stream[cri.ExecSyncRequest, cri.ExecSyncResponse]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        left = stream.deadline.time_remaining() if stream.deadline else max(request.timeout, 3600.0)
        await stream.send_message(await self._room.containers.exec_sync(request, left))

    async def Exec(self, stream: Stream[cri.ExecRequest, cri.ExecResponse]) -> None:
        async def url(request: cri.ExecRequest) -> cri.ExecResponse:
            wanted = SessionRequest(
                container_id=self._running(request.container_id),
                command=tuple(request.cmd),
                tty=request.tty,
                stdin=request.stdin,
                stdout=request.stdout,
                stderr=request.stderr,
            )
            return cri.ExecResponse(url=self._streaming.exec_url(wanted))

        await answer(stream, url)

    async def Attach(self, stream: Stream[cri.AttachRequest, cri.AttachResponse]) -> None:
        async def url(request: cri.AttachRequest) -> cri.AttachResponse:
            wanted = SessionRequest(
                container_id=self._running(request.container_id),
                tty=request.tty,
                stdin=request.stdin,
                stdout=request.stdout,
                stderr=request.stderr,
            )
            return cri.AttachResponse(url=self._streaming.attach_url(wanted))

        await answer(stream, url)

    async def PortForward(self, stream: Stream[cri.PortForwardRequest, cri.PortForwardResponse]) -> None:
        async def url(request: cri.PortForwardRequest) -> cri.PortForwardResponse:
            sandbox = self._memory.sandbox(request.pod_sandbox_id)
            return cri.PortForwardResponse(url=self._streaming.port_forward_url(sandbox.id, tuple(request.port)))

        await answer(stream, url)

    async def UpdateRuntimeConfig(
        self, stream: Stream[cri.UpdateRuntimeConfigRequest, cri.UpdateRuntimeConfigResponse]
    ) -> None:
        await stream.recv_message()
        # The pod CIDR of this worker: pods have addresses of their cells instead.
        await stream.send_message(cri.UpdateRuntimeConfigResponse())

    async def Status(self, stream: Stream[cri.StatusRequest, cri.StatusResponse]) -> None:
        async def status(request: cri.StatusRequest) -> cri.StatusResponse:
            told = self._abilities.status()
            if request.verbose:
                info = {"sandboxes": len(self._memory.sandboxes()), "cells": self._sandboxes.cells_by_state()}
                told.info["config"] = json.dumps(info)
            return told

        await answer(stream, status)

    async def CheckpointContainer(
        self, stream: Stream[cri.CheckpointContainerRequest, cri.CheckpointContainerResponse]
    ) -> None:
        raise _without_criu("checkpoint of a container")

    async def CheckpointPod(self, stream: Stream[cri.CheckpointPodRequest, cri.CheckpointPodResponse]) -> None:
        raise _without_criu("checkpoint of a pod")

    async def RestorePod(self, stream: Stream[cri.RestorePodRequest, cri.RestorePodResponse]) -> None:
        raise _without_criu("restoring a pod")

    async def GetContainerEvents(self, stream: Stream[cri.GetEventsRequest, cri.ContainerEventResponse]) -> None:
        await stream.recv_message()
        events: asyncio.Queue[cri.ContainerEventResponse] = asyncio.Queue()
        missed = asyncio.Event()

        def heard(event: cri.ContainerEventResponse) -> None:
            if events.qsize() < EVENTS_KEPT:
                events.put_nowait(event)
            else:
                missed.set()

        ended = self._memory.listen(heard)
        try:
            await stream.send_initial_metadata()
            while not missed.is_set():
                await stream.send_message(await events.get())
            cause = f"more than {EVENTS_KEPT} waited for their reader"
            raise Fault(Kind.UNAVAILABLE, "container events", cause, "list containers, and listen again")
        finally:
            ended()

    async def RuntimeConfig(self, stream: Stream[cri.RuntimeConfigRequest, cri.RuntimeConfigResponse]) -> None:
        await stream.recv_message()
        linux = cri.LinuxRuntimeConfiguration(cgroup_driver=cri.CGROUPFS)
        await stream.send_message(cri.RuntimeConfigResponse(linux=linux))

    async def UpdatePodSandboxResources(
        self, stream: Stream[cri.UpdatePodSandboxResourcesRequest, cri.UpdatePodSandboxResourcesResponse]
    ) -> None:
        async def update(request: cri.UpdatePodSandboxResourcesRequest) -> cri.UpdatePodSandboxResourcesResponse:
            await self._room.sandboxes.update(request)
            return cri.UpdatePodSandboxResourcesResponse()

        await answer(stream, update)

    def _running(self, container_id: str) -> str:
        record = self._memory.container(container_id)
        if cri.ContainerStatus.FromString(record.status).state != cri.CONTAINER_RUNNING:
            raise Fault(Kind.PRECONDITION, f"container {record.id}", "it is not running")
        return record.id


def _without_criu(what: str) -> Fault:
    return Fault(Kind.UNSUPPORTED, what, "a cell has no criu")
