"""The calls on one cell: all are here, and each answer goes through the gate (`told`) before anybody sees it.

Deadlines are here, with reasons.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import structlog
from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from controller.choice.demand import cdi_devices
from controller.sandboxes import measured, told
from controller.sandboxes.cell_calls import PAUSE, QUICK, CellCalls
from controller.sandboxes.gate import ServicesStream, gate
from controller.sandboxes.measured import Measured, Recorded
from controller.sandboxes.told import Made, News, Pace

log = structlog.get_logger()
# A kubelet sets no deadline on a pull; the cell ends one that makes no progress long before this.
PULL = 6 * 3600.0
# What a cell has in memory.
SHORT = 30.0
# Of a cell's own accord: a container that crashes all the time has ten events a second, all of a busy pod's a hundred.
EVENTS_EACH_SECOND, EVENTS_AT_ONCE = 200.0, 4000.0
# A message of so many bytes counts as one more event.
EVENT_BYTES = 16 << 10
# Messages that are taken from what has arrived before anybody else has a turn.
TURN = 32


class OneCell(CellCalls):
    """The runtime on one cell."""

    async def run_sandbox(self, config: cri.PodSandboxConfig, handler: str, known: Callable[[str], bool]) -> str:
        """Make the sandbox; its id, which nobody may know yet. Raises Fault."""
        return await self._ask(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).RunPodSandbox,
            cri.RunPodSandboxRequest(config=config, runtime_handler=handler),
            lambda reply: told.fresh(reply.pod_sandbox_id, "sandbox", known),
        )

    async def sandbox_status(self, sandbox: str, deadline: float = QUICK) -> cri.PodSandboxStatus:
        """The status of the cell's sandbox. Raises Fault."""
        return await self._ask(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).PodSandboxStatus,
            cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox),
            lambda reply: told.sandbox(reply.status, sandbox, self._recorded()),
            deadline,
        )

    async def stop_sandbox(self, sandbox: str) -> None:
        """Stop it and its containers. Raises Fault."""
        asked = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox)
        await self._do(lambda channel: runtime_grpc.RuntimeServiceStub(channel).StopPodSandbox, asked)

    async def update_sandbox(self, asked: cri.UpdatePodSandboxResourcesRequest) -> None:
        """Hold the pod to new resources. Raises Fault."""
        await self._do(lambda channel: runtime_grpc.RuntimeServiceStub(channel).UpdatePodSandboxResources, asked)

    async def containers(self, sandbox: str) -> tuple[Made, ...]:
        """All containers of a sandbox. Raises Fault."""
        return await self._ask(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).ListContainers,
            cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox)),
            lambda reply: told.containers(reply, sandbox),
        )

    def devices(self) -> tuple[str, ...]:
        """What a container of the cell's pod asks for where nobody says which of them has the pod's GPUs."""
        cell = self._cells.get(self.name)
        if cell is None or cell.claim is None or not cell.claim.demand.gpus:
            return ()
        bought = cell.offer.shape.gpus if cell.offer is not None else None
        return cdi_devices(cell.claim.demand.gpu_vendor or (bought.vendor if bought else ""))

    async def make_container(
        self, wanted: wire.MakeContainerRequest, known: Callable[[], Awaitable[Collection[str]]]
    ) -> cri.ContainerStatus:
        """Make a container; its status. One of the same name and attempt that is not among the `known` was made for a
        controller that died before it wrote it down, or for a caller that left: it is made anew. Raises Fault.
        """
        try:
            return await self._make(wanted)
        except Fault as fault:
            if fault.kind is not Kind.EXISTS:
                raise
            asked = wanted.asked
            named = (asked.config.metadata.name, asked.config.metadata.attempt)
            # Asked first: what is made and written down meanwhile is listed, and not known.
            listed, ours = await self.containers(asked.pod_sandbox_id), await known()
            unknown = [one.id for one in listed if (one.name, one.attempt) == named and one.id not in ours]
            if not unknown:
                raise
        for one in unknown:
            log.info("a container that nobody knew of is made anew", container=one, sandbox=asked.pod_sandbox_id)
            await self.remove_container(one)
        return await self._make(wanted)

    async def start_container(self, container: str) -> None:
        """Start a created container. Raises Fault."""
        asked = cri.StartContainerRequest(container_id=container)
        await self._do(lambda channel: runtime_grpc.RuntimeServiceStub(channel).StartContainer, asked)

    async def stop_container(self, container: str, grace: float) -> None:
        """Stop a container within `grace` seconds; the stopped and the unknown are no error. Raises Fault."""
        seconds = max(0, round(grace))
        asked = cri.StopContainerRequest(container_id=container, timeout=seconds)
        await self._do(lambda channel: runtime_grpc.RuntimeServiceStub(channel).StopContainer, asked, QUICK + seconds)

    async def remove_container(self, container: str) -> None:
        """Remove a container; the unknown is removed already. Raises Fault."""
        asked = cri.RemoveContainerRequest(container_id=container)
        await self._do(lambda channel: runtime_grpc.RuntimeServiceStub(channel).RemoveContainer, asked)

    async def update_container(self, asked: cri.UpdateContainerResourcesRequest) -> None:
        """Hold a container to new resources. Raises Fault."""
        await self._do(lambda channel: runtime_grpc.RuntimeServiceStub(channel).UpdateContainerResources, asked)

    async def container_status(self, container: str, deadline: float = QUICK) -> cri.ContainerStatus | None:
        """A container's status; None where the cell knows it no more. Raises Fault."""
        try:
            return await self._ask(
                lambda channel: runtime_grpc.RuntimeServiceStub(channel).ContainerStatus,
                cri.ContainerStatusRequest(container_id=container),
                lambda reply: told.container(reply.status, container),
                deadline,
            )
        except Fault as fault:
            if fault.kind is Kind.NOT_FOUND:
                return None
            raise

    async def exec_sync(self, asked: cri.ExecSyncRequest, deadline: float) -> cri.ExecSyncResponse:
        """Run a command and wait for it. Raises Fault."""
        return await self._ask(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).ExecSync, asked, told.output, deadline
        )

    async def image(self, reference: str) -> cri.Image | None:
        """An image that is on the cell, or None. Raises Fault."""
        described = await self.described(cri.ImageStatusRequest(image=cri.ImageSpec(image=reference)))
        return described.image if described.HasField("image") and described.image.id else None

    async def described(self, asked: cri.ImageStatusRequest) -> cri.ImageStatusResponse:
        """An image that is on the cell, with all that it knows of it where that is asked. Raises Fault."""
        return await self._ask(
            lambda channel: runtime_grpc.ImageServiceStub(channel).ImageStatus, asked, told.described, SHORT
        )

    async def images(self, deadline: float = SHORT) -> tuple[cri.Image, ...]:
        """All images that are on the cell. Raises Fault."""
        return await self._ask(
            lambda channel: runtime_grpc.ImageServiceStub(channel).ListImages,
            cri.ListImagesRequest(),
            lambda reply: told.images(reply.images),
            deadline,
        )

    async def pull_image(self, asked: cri.PullImageRequest, deadline: float = PULL) -> str:
        """Pull an image; what CreateContainer wants of it. Raises Fault."""
        return await self._ask(
            lambda channel: runtime_grpc.ImageServiceStub(channel).PullImage,
            asked,
            lambda reply: told.reference(reply.image_ref),
            deadline,
        )

    async def remove_image(self, spec: cri.ImageSpec) -> None:
        """Remove an image; the unknown is removed already. Raises Fault."""
        asked = cri.RemoveImageRequest(image=spec)
        await self._do(lambda channel: runtime_grpc.ImageServiceStub(channel).RemoveImage, asked, SHORT)

    async def stats(self, own: Recorded) -> Measured:
        """What the cell measures of its sandbox and its containers. Raises Fault."""
        channel = await self.connect()
        stub = runtime_grpc.RuntimeServiceStub(channel)
        containers = await call(stub.ListContainerStats, cri.ListContainerStatsRequest(), deadline=SHORT)
        sandboxes = await call(stub.ListPodSandboxStats, cri.ListPodSandboxStatsRequest(), deadline=SHORT)
        metrics = await call(stub.ListPodSandboxMetrics, cri.ListPodSandboxMetricsRequest(), deadline=SHORT)
        with gate(channel, self.name):
            return measured.stats(containers, sandboxes, metrics, own)

    async def usage(self, sandbox: str, own: Collection[str]) -> dict[str, told.Used]:
        """What these containers of its sandbox have used so far. Raises Fault."""
        wanted = cri.ContainerStatsFilter(pod_sandbox_id=sandbox)
        return await self._ask(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).ListContainerStats,
            cri.ListContainerStatsRequest(filter=wanted),
            lambda reply: told.used(reply, sandbox, own),
            SHORT,
        )

    async def abilities(self, handlers: Collection[str]) -> cri.StatusResponse:
        """What its runtime can do, by these handlers. Raises Fault."""
        return await self._ask(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).Status,
            cri.StatusRequest(),
            lambda reply: told.abilities(reply, handlers),
            SHORT,
        )

    async def read_file(self, path: str, limit: int, deadline: float = SHORT) -> bytes:
        """The end of a small file of the cell, at most so many bytes. Raises Fault."""
        return await self._ask(
            lambda channel: cell_grpc.CellStub(channel).ReadFile,
            wire.ReadFileRequest(path=path, limit=limit),
            lambda reply: told.file_end(reply.data, limit),
            deadline,
        )

    async def disk_usage(self, folders: Sequence[str]) -> tuple[int, ...]:
        """How many bytes of disk each of these folders of the cell takes. Raises Fault."""
        return await self._ask(
            lambda channel: cell_grpc.CellStub(channel).DiskUsage,
            wire.DiskUsageRequest(folders=folders),
            lambda reply: told.sizes(reply.bytes, folders),
            SHORT,
        )

    async def mount_folder(self, asked: wire.MountFolderRequest) -> None:
        """Mount a folder of a file server on the cell, within `QUICK` s whatever the server does. Raises Fault."""
        await self._do(lambda channel: cell_grpc.CellStub(channel).MountFolder, asked)

    async def dial_worker(self, worker: wire.DialWorkerRequest) -> None:
        """Have the cell dial this worker as well. Raises Fault."""
        await self._do(lambda channel: cell_grpc.CellStub(channel).DialWorker, worker)

    async def put_files(self, start: wire.PutFilesStart, messages: Sequence[wire.PutFilesInput]) -> None:
        """Write a tree of files below one folder of the cell, whole or not at all. Raises Fault."""
        while True:
            channel = await self.connect()
            try:
                async with asyncio.timeout(QUICK):
                    await _sent(channel, start, messages)
                return
            except TimeoutError as error:
                cause = f"the cell did not take it within {QUICK:g} s"
                raise Fault(Kind.TIMEOUT, f"folder {start.folder}", cause, "it is tried again") from error
            except Fault as fault:
                if fault.kind is not Kind.UNREACHABLE or self._patience is not None:
                    raise
            await asyncio.sleep(PAUSE)

    async def events(
        self,
        sandbox: str,
        owner_of: Callable[[str], str | None],
        begun: Callable[[], Awaitable[None]],
        heard: Callable[[News], Awaitable[None]],
    ) -> None:
        """Hear what happens on the cell until the stream ends. `begun` is awaited once it stands, so that no change
        falls between the two; `owner_of` tells the sandbox of a container. Raises Fault.
        """
        channel = await self.connect()
        pace = Pace(EVENTS_EACH_SECOND, EVENTS_AT_ONCE, time.monotonic())
        taken = 0
        with translate_errors():
            async with runtime_grpc.RuntimeServiceStub(channel).GetContainerEvents.open() as stream:
                await stream.send_message(cri.GetEventsRequest(), end=True)
                await begun()
                async for event in stream:
                    with gate(channel, self.name):
                        if not pace.take(1 + event.ByteSize() / EVENT_BYTES, time.monotonic()):
                            raise told.untrue("events", f"the cell tells more than {EVENTS_EACH_SECOND:g} a second")
                        news = told.event(event, sandbox, owner_of, self._recorded())
                    await heard(news)
                    taken += 1
                    if taken % TURN == 0:
                        await asyncio.sleep(0)

    @asynccontextmanager
    async def services(self, start: wire.ServicesStart) -> AsyncGenerator[ServicesStream]:
        """The stream by which it is told of Services and asks for them. Raises Fault."""
        channel = await self.connect()
        with translate_errors():
            async with cell_grpc.CellStub(channel).Services.open() as stream:
                telling = ServicesStream(stream, channel, self.name)
                await telling.tell(wire.ServicesInput(start=start))
                yield telling

    async def _make(self, wanted: wire.MakeContainerRequest) -> cri.ContainerStatus:
        return await self._ask(
            lambda channel: cell_grpc.CellStub(channel).MakeContainer,
            wanted,
            lambda reply: told.container(reply.status, wanted.container_id),
        )


async def _sent(channel: Channel, start: wire.PutFilesStart, messages: Sequence[wire.PutFilesInput]) -> None:
    with translate_errors():
        async with cell_grpc.CellStub(channel).PutFiles.open() as stream:
            await stream.send_message(wire.PutFilesInput(start=start))
            for message in messages:
                await stream.send_message(message)
            await stream.send_message(wire.PutFilesInput(commit=wire.PutFilesCommit()), end=True)
            await stream.recv_message()
