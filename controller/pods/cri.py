"""The calls that pods need of their cell, over its connection, through drops of that connection.

A call that a lost connection ended is made again once the cell is back; a cell that does not come back is CellLost.
What a cell tells, also of others that do not answer it, goes to the caller.
Deadlines are here, each with its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc, cell_pb2
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import UnaryMethod, call, settled
from controller.clouds.protocol import LoginOf
from controller.fleet.cells import Cells
from controller.model.names import CellName
from controller.pods.contents import Entry
from controller.pods.translate import Folder

# The kubelet's own: what makes namespaces and processes may take this long on a busy cell.
QUICK = 120.0
# A pull of tens of GB; the agent itself gives up where nothing moves.
PULL = 3600.0
PAUSE = 0.3
TERMINATION_BYTES = 4096
CHUNK = 1 << 18

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class CellLost(Exception):
    """The cell will not come back; its text says why."""


class CellRuntime:
    """The runtime on one cell."""

    def __init__(self, cells: Cells, name: CellName, login: LoginOf | None = None) -> None:
        self.name = name
        self._login = login
        self._cells = cells

    async def connect(self) -> Channel:
        """The connection, once there is one. Raises CellLost."""
        try:
            return await self._cells.connected(self.name)
        except Fault as fault:
            raise CellLost(fault.cause) from fault

    async def _call(
        self,
        method: Callable[[Channel], UnaryMethod[Request, Reply]],
        request: Request,
        deadline: float = QUICK,
    ) -> Reply:
        while True:
            channel = await self.connect()
            try:
                return await call(method(channel), request, deadline=deadline)
            except Fault as fault:
                if fault.kind is not Kind.UNREACHABLE:
                    raise
            await asyncio.sleep(PAUSE)

    async def sandbox(self, config: cri.PodSandboxConfig) -> tuple[str, bool]:
        """The pod's sandbox, and whether it was made just now."""
        found = await self._call(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).ListPodSandbox,
            cri.ListPodSandboxRequest(
                filter=cri.PodSandboxFilter(label_selector={"io.kubernetes.pod.uid": config.metadata.uid})
            ),
        )
        for item in found.items:
            if item.metadata.attempt == config.metadata.attempt:
                return item.id, False
        made = await self._call(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).RunPodSandbox,
            cri.RunPodSandboxRequest(config=config),
        )
        return made.pod_sandbox_id, True

    async def addresses(self, sandbox: str) -> tuple[str, ...]:
        """The pod's addresses, the first one first."""
        reply = await self._call(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).PodSandboxStatus,
            cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox),
        )
        network = reply.status.network
        return tuple(ip for ip in (network.ip, *(one.ip for one in network.additional_ips)) if ip)

    async def image(self, reference: str) -> cri.Image | None:
        """An image that is on the cell, or None."""
        reply = await self._call(
            lambda channel: runtime_grpc.ImageServiceStub(channel).ImageStatus,
            cri.ImageStatusRequest(image=cri.ImageSpec(image=reference)),
        )
        return reply.image if reply.HasField("image") and reply.image.id else None

    async def pull(self, reference: str, config: cri.PodSandboxConfig, logins: Sequence[tuple[str, str]] = ()) -> str:
        """Pull an image with the first of these logins that may, else logged in to the cloud's own registries; returns
        what CreateContainer wants of it.
        """
        for name, password in logins[:-1]:
            try:
                return await self._pulled(reference, config, cri.AuthConfig(username=name, password=password))
            except Fault as fault:
                if fault.kind is not Kind.DENIED:
                    raise
        if logins:
            name, password = logins[-1]
            return await self._pulled(reference, config, cri.AuthConfig(username=name, password=password))
        found = await self._login(reference) if self._login is not None else None
        auth = cri.AuthConfig(username=found.username, password=found.password) if found else None
        return await self._pulled(reference, config, auth)

    async def _pulled(self, reference: str, config: cri.PodSandboxConfig, auth: cri.AuthConfig | None) -> str:
        reply = await self._call(
            lambda channel: runtime_grpc.ImageServiceStub(channel).PullImage,
            cri.PullImageRequest(image=cri.ImageSpec(image=reference), sandbox_config=config, auth=auth),
            PULL,
        )
        return reply.image_ref

    async def create(self, sandbox: str, config: cri.ContainerConfig, pod: cri.PodSandboxConfig) -> str:
        """Create a container, once, over drops of the connection too; returns its id."""
        for container in await self.containers(sandbox):
            if (container.metadata.name, container.metadata.attempt) == (config.metadata.name, config.metadata.attempt):
                return container.id
        reply = await self._call(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).CreateContainer,
            cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod),
        )
        return reply.container_id

    async def start(self, container: str) -> None:
        """Start a created container; one that has started already is left alone."""
        try:
            await self._call(
                lambda channel: runtime_grpc.RuntimeServiceStub(channel).StartContainer,
                cri.StartContainerRequest(container_id=container),
            )
        except Fault:
            status = await self.status(container)
            if status is None or not status.started_at or status.state == cri.CONTAINER_CREATED:
                raise
            if status.exit_code == 128 and status.reason in {"StartError", "ContainerCannotRun"}:
                raise

    async def stop(self, container: str, grace: float) -> None:
        """Stop a container within `grace` seconds; the stopped and the unknown are no error."""
        seconds = max(0, round(grace))
        await self._call(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).StopContainer,
            cri.StopContainerRequest(container_id=container, timeout=seconds),
            QUICK + seconds,
        )

    async def containers(self, sandbox: str) -> list[cri.Container]:
        """All containers of a sandbox."""
        reply = await self._call(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).ListContainers,
            cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox)),
        )
        return list(reply.containers)

    async def status(self, container: str) -> cri.ContainerStatus | None:
        """A container's status, or None where the cell knows it no more."""
        try:
            reply = await self._call(
                lambda channel: runtime_grpc.RuntimeServiceStub(channel).ContainerStatus,
                cri.ContainerStatusRequest(container_id=container),
            )
        except Fault as fault:
            if fault.kind is Kind.NOT_FOUND:
                return None
            raise
        return reply.status

    async def exec(self, container: str, command: list[str], limit: float) -> cri.ExecSyncResponse:
        """Run a command and wait for it. Raises Fault TIMEOUT after `limit` seconds."""
        return await self._call(
            lambda channel: runtime_grpc.RuntimeServiceStub(channel).ExecSync,
            cri.ExecSyncRequest(container_id=container, cmd=command, timeout=max(1, round(limit))),
            limit + QUICK,
        )

    async def read_file(self, path: str) -> bytes:
        """The end of a small file of the cell."""
        reply = await self._call(
            lambda channel: cell_grpc.CellStub(channel).ReadFile,
            cell_pb2.ReadFileRequest(path=path, limit=TERMINATION_BYTES),
        )
        return reply.data

    async def put_folders(self, folder: str, entries: tuple[Folder, ...]) -> None:
        """Make a folder of the cell with these entries; one that is there stays as it is."""
        start = cell_pb2.PutFilesInput(start=cell_pb2.PutFilesStart(folder=folder, keep_existing=True))
        await self._put(folder, [start, *(cell_pb2.PutFilesInput(entry=_entry(one)) for one in entries)])

    async def put_tree(self, folder: str, entries: Sequence[Entry]) -> None:
        """Make a folder of the cell hold this tree; what it held is replaced at once."""
        messages = [cell_pb2.PutFilesInput(start=cell_pb2.PutFilesStart(folder=folder))]
        for one in entries:
            entry = cell_pb2.FileEntry(path=one.path, mode=one.mode, gid=one.gid, target=one.target)
            messages.append(cell_pb2.PutFilesInput(entry=entry))
            messages += [
                cell_pb2.PutFilesInput(data=one.data[at : at + CHUNK]) for at in range(0, len(one.data), CHUNK)
            ]
        await self._put(folder, messages)

    async def _put(self, folder: str, messages: Sequence[cell_pb2.PutFilesInput]) -> None:
        commit = cell_pb2.PutFilesInput(commit=cell_pb2.PutFilesCommit())
        while True:
            channel = await self.connect()
            try:
                async with asyncio.timeout(QUICK):
                    with settled():
                        await cell_grpc.CellStub(channel).PutFiles([*messages, commit])
                return
            except TimeoutError as error:
                raise Fault(Kind.TIMEOUT, f"folder {folder}", "it was not made in time") from error
            except Fault as fault:
                if fault.kind is not Kind.UNREACHABLE:
                    raise
            await asyncio.sleep(PAUSE)

    async def observe(self, poke: Callable[[], None]) -> None:
        """Poke whenever something may have changed: at each (re)connection and event. Ends only with CellLost."""
        while True:
            channel = await self.connect()
            try:
                with settled():
                    async with runtime_grpc.RuntimeServiceStub(channel).GetContainerEvents.open() as stream:
                        await stream.send_message(cri.GetEventsRequest(), end=True)
                        poke()
                        async for _ in stream:
                            poke()
            except Fault:
                poke()
            await asyncio.sleep(PAUSE)


def _entry(folder: Folder) -> cell_pb2.FileEntry:
    entry = cell_pb2.FileEntry(path=folder.name, mode=folder.mode, gid=folder.gid)
    if folder.memory is not None:
        entry.memory.size_bytes = folder.memory
        entry.memory.SetInParent()  # of no size it is one in memory all the same
    return entry
