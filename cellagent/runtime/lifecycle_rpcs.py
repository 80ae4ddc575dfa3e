"""The RPCs that make, start, stop, remove and change sandboxes and containers. Thin: each is its list of steps."""

from __future__ import annotations

from grpclib.server import Stream

from cellagent.runtime import container_logs, pod_resources, resources
from cellagent.runtime.answering import received
from cellagent.runtime.checkpoint import Checkpoints
from cellagent.runtime.container import RuntimeContainers
from cellagent.runtime.machine import Machine
from cellagent.runtime.sandbox import RuntimeSandboxes
from cellagent.runtime.sessions import exec_session
from cellagent.runtime.sessions.streaming import Streaming
from cellagent.runtime.stats.summary import SandboxStats
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import RuntimeServiceBase
from cellwire.faults import Fault, Kind
from cellwire.stream.session import SessionRequest


class RuntimeLifecycle(RuntimeServiceBase):
    """The half of the service that acts."""

    def __init__(
        self,
        machine: Machine,
        sandboxes: RuntimeSandboxes,
        containers: RuntimeContainers,
        streaming: Streaming,
        stats: SandboxStats,
    ) -> None:
        self._machine = machine
        self._sandboxes = sandboxes
        self._containers = containers
        self._streaming = streaming
        self._stats = stats
        self._checkpoints = Checkpoints(machine)

    async def RunPodSandbox(self, stream: Stream[cri.RunPodSandboxRequest, cri.RunPodSandboxResponse]) -> None:
        request = await received(stream)
        sandbox_id = await self._sandboxes.run(request.config, request.runtime_handler)
        await stream.send_message(cri.RunPodSandboxResponse(pod_sandbox_id=sandbox_id))

    async def StopPodSandbox(self, stream: Stream[cri.StopPodSandboxRequest, cri.StopPodSandboxResponse]) -> None:
        await self._sandboxes.stop((await received(stream)).pod_sandbox_id)
        await stream.send_message(cri.StopPodSandboxResponse())

    async def RemovePodSandbox(self, stream: Stream[cri.RemovePodSandboxRequest, cri.RemovePodSandboxResponse]) -> None:
        await self._sandboxes.remove((await received(stream)).pod_sandbox_id)
        await stream.send_message(cri.RemovePodSandboxResponse())

    async def CreateContainer(self, stream: Stream[cri.CreateContainerRequest, cri.CreateContainerResponse]) -> None:
        request = await received(stream)
        container_id = await self._containers.creation.create(request.pod_sandbox_id, request.config)
        self._machine.emit(cri.CONTAINER_CREATED_EVENT, container_id, request.pod_sandbox_id)
        await stream.send_message(cri.CreateContainerResponse(container_id=container_id))

    async def StartContainer(self, stream: Stream[cri.StartContainerRequest, cri.StartContainerResponse]) -> None:
        await self._containers.start((await received(stream)).container_id)
        await stream.send_message(cri.StartContainerResponse())

    async def StopContainer(self, stream: Stream[cri.StopContainerRequest, cri.StopContainerResponse]) -> None:
        request = await received(stream)
        await self._containers.stop(request.container_id, request.timeout)
        await stream.send_message(cri.StopContainerResponse())

    async def RemoveContainer(self, stream: Stream[cri.RemoveContainerRequest, cri.RemoveContainerResponse]) -> None:
        await self._containers.remove((await received(stream)).container_id)
        await stream.send_message(cri.RemoveContainerResponse())

    async def UpdateContainerResources(
        self, stream: Stream[cri.UpdateContainerResourcesRequest, cri.UpdateContainerResourcesResponse]
    ) -> None:
        request = await received(stream)
        await resources.update(self._machine, request.container_id, request.linux)
        await stream.send_message(cri.UpdateContainerResourcesResponse())

    async def UpdatePodSandboxResources(
        self, stream: Stream[cri.UpdatePodSandboxResourcesRequest, cri.UpdatePodSandboxResourcesResponse]
    ) -> None:
        await pod_resources.update(self._machine, await received(stream))
        await stream.send_message(cri.UpdatePodSandboxResourcesResponse())

    async def ReopenContainerLog(
        self, stream: Stream[cri.ReopenContainerLogRequest, cri.ReopenContainerLogResponse]
    ) -> None:
        record = self._machine.ledger.container((await received(stream)).container_id)
        await container_logs.reopen(self._machine.ledger, self._machine.settings.bundle(record.id), record.id)
        await stream.send_message(cri.ReopenContainerLogResponse())

    async def ExecSync(self, stream: Stream[cri.ExecSyncRequest, cri.ExecSyncResponse]) -> None:
        request = await received(stream)
        if not request.cmd:
            raise Fault(Kind.INVALID, f"exec in container {request.container_id[:13]}", "no command was given")
        place = self._containers.place(request.container_id)
        done = await exec_session.to_the_end(place, request.cmd, request.timeout)
        await stream.send_message(cri.ExecSyncResponse(stdout=done.stdout, stderr=done.stderr, exit_code=done.code))

    async def Exec(self, stream: Stream[cri.ExecRequest, cri.ExecResponse]) -> None:
        asked = await received(stream)
        place = self._containers.place(asked.container_id)
        _streams(asked)
        request = SessionRequest(
            container_id=place.container_id,
            command=tuple(asked.cmd),
            tty=asked.tty,
            stdin=asked.stdin,
            stdout=asked.stdout,
            stderr=asked.stderr,
        )
        await stream.send_message(cri.ExecResponse(url=await self._streaming.exec_url(request)))

    async def Attach(self, stream: Stream[cri.AttachRequest, cri.AttachResponse]) -> None:
        asked = await received(stream)
        place = self._containers.place(asked.container_id)
        _streams(asked)
        request = SessionRequest(
            container_id=place.container_id,
            tty=asked.tty,
            stdin=asked.stdin,
            stdout=asked.stdout,
            stderr=asked.stderr,
        )
        await stream.send_message(cri.AttachResponse(url=await self._streaming.attach_url(request)))

    async def PortForward(self, stream: Stream[cri.PortForwardRequest, cri.PortForwardResponse]) -> None:
        asked = await received(stream)
        record = self._machine.ledger.sandbox(asked.pod_sandbox_id)
        url = await self._streaming.port_forward_url(record.id, asked.port)
        await stream.send_message(cri.PortForwardResponse(url=url))

    async def CheckpointContainer(
        self, stream: Stream[cri.CheckpointContainerRequest, cri.CheckpointContainerResponse]
    ) -> None:
        request = await received(stream)
        await self._checkpoints.write(request.container_id, request.location, request.timeout)
        await stream.send_message(cri.CheckpointContainerResponse())

    async def CheckpointPod(self, stream: Stream[cri.CheckpointPodRequest, cri.CheckpointPodResponse]) -> None:
        raise _no_pods("checkpoint of a pod")

    async def RestorePod(self, stream: Stream[cri.RestorePodRequest, cri.RestorePodResponse]) -> None:
        raise _no_pods("restoring a pod")


def _streams(asked: cri.ExecRequest | cri.AttachRequest) -> None:
    thing = f"session in container {asked.container_id[:13]}"
    if asked.tty and asked.stderr:
        raise Fault(Kind.INVALID, thing, "a terminal has no stderr of its own", "ask for tty or stderr")
    if not (asked.stdin or asked.stdout or asked.stderr):
        raise Fault(Kind.INVALID, thing, "no stream was asked for", "ask for stdin, stdout or stderr")


def _no_pods(what: str) -> Fault:
    cause = "criu writes down the processes of a container, not a pod's network"
    return Fault(Kind.UNSUPPORTED, what, cause, "checkpoint its containers")
