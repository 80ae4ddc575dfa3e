"""The life of a container through the shim: its files are put on the cell, and the cell's runtime does the rest."""

from __future__ import annotations

from pathlib import Path

import structlog
from grpclib.client import Channel

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from controller.fleet.cells import Cells
from controller.shim import mounts, volumes
from controller.shim.following import Following
from controller.shim.memory import Memory
from controller.shim.records import ContainerRecord, SandboxRecord

log = structlog.get_logger()
CALL_DEADLINE = 120.0


class Containers:
    """CreateContainer, StartContainer, StopContainer, RemoveContainer, ExecSync."""

    def __init__(self, cells: Cells, memory: Memory, following: Following, pods_folder: str) -> None:
        self._cells = cells
        self._memory = memory
        self._following = following
        self._pods_folder = pods_folder

    async def create(self, request: cri.CreateContainerRequest) -> str:
        """Create the container on the sandbox's cell. Raises Fault."""
        sandbox = self._memory.sandbox(request.pod_sandbox_id)
        require_pulled(sandbox, request.config)
        channel = self._cells.channel(sandbox.cell)
        config, copies = await self._placed(channel, sandbox, request.config)
        asked = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox.id, config=config, sandbox_config=request.sandbox_config
        )
        stub = runtime_grpc.RuntimeServiceStub(channel)
        container_id = (await call(stub.CreateContainer, asked, deadline=CALL_DEADLINE)).container_id
        status = await self._status(channel, container_id)
        log_path = ""
        if request.config.log_path:
            folder = cri.PodSandboxConfig.FromString(sandbox.config).log_directory
            log_path = str(Path(folder) / request.config.log_path)
        status.log_path = log_path
        del status.mounts[:]
        status.mounts.extend(request.config.mounts)
        record = ContainerRecord(
            id=container_id,
            sandbox=sandbox.id,
            cell=sandbox.cell,
            status=status.SerializeToString(),
            log_path=log_path,
            copies=copies,
        )
        await self._memory.put_container(record)
        self._following.start_log(record)
        return container_id

    async def start(self, container_id: str) -> None:
        """Start the container. Raises Fault."""
        record = self._memory.container(container_id)
        channel = self._cells.channel(record.cell)
        stub = runtime_grpc.RuntimeServiceStub(channel)
        try:
            await call(stub.StartContainer, cri.StartContainerRequest(container_id=record.id), deadline=CALL_DEADLINE)
        finally:
            await self._learn(channel, record.id)

    async def stop(self, container_id: str, grace: int) -> None:
        """Stop the container within its grace. The unknown and the lost are stopped already."""
        try:
            record = self._memory.container(container_id)
        except Fault:
            return
        if cri.ContainerStatus.FromString(record.status).state == cri.CONTAINER_EXITED:
            return
        channel = self._cells.channel(record.cell)
        stub = runtime_grpc.RuntimeServiceStub(channel)
        asked = cri.StopContainerRequest(container_id=record.id, timeout=grace)
        await call(stub.StopContainer, asked, deadline=grace + CALL_DEADLINE)
        await self._learn(channel, record.id)

    async def remove(self, container_id: str) -> None:
        """Remove the container on its cell, if that still lives, and forget it. The unknown is removed already."""
        try:
            record = self._memory.container(container_id)
        except Fault:
            return
        await self._following.log_complete(record.id)
        sandbox = self._memory.sandbox(record.sandbox)
        if not sandbox.released:
            stub = runtime_grpc.RuntimeServiceStub(self._cells.channel(record.cell))
            asked = cri.RemoveContainerRequest(container_id=record.id)
            await call(stub.RemoveContainer, asked, deadline=CALL_DEADLINE)
        await self._memory.forget_container(record)

    def stub_of(self, container_id: str) -> tuple[runtime_grpc.RuntimeServiceStub, str]:
        """The runtime that holds a container, and the container's whole id. Raises Fault."""
        record = self._memory.container(container_id)
        return runtime_grpc.RuntimeServiceStub(self._cells.channel(record.cell)), record.id

    async def _placed(
        self, channel: Channel, sandbox: SandboxRecord, config: cri.ContainerConfig
    ) -> tuple[cri.ContainerConfig, dict[str, str]]:
        placed = cri.ContainerConfig()
        placed.CopyFrom(config)
        copies: dict[str, str] = {}
        plans = [
            mounts.plan(mount, pods_folder=self._pods_folder, uid=sandbox.uid, container=config.metadata.name)
            for mount in placed.mounts
        ]
        for mount, planned in zip(placed.mounts, plans, strict=True):
            match planned.fate:
                case mounts.Fate.COPIED:
                    mount.host_path = await volumes.send(channel, Path(planned.source), planned.on_cell)
                case mounts.Fate.RETURNED:
                    mount.host_path = await volumes.send(channel, Path(planned.source), planned.on_cell)
                    copies[mount.host_path] = planned.source
                case mounts.Fate.CELL_FOLDER:
                    await volumes.make_folder(channel, planned.on_cell)
                    mount.host_path = planned.on_cell
                case mounts.Fate.AS_IS:
                    pass
        return placed, copies

    async def _learn(self, channel: Channel, container_id: str) -> None:
        """Take the container's state over at once, so that the kubelet's next question finds it."""
        try:
            await self._memory.learn_container(await self._status(channel, container_id))
            record = self._memory.container(container_id)
        except Fault as fault:
            log.info("container state not known yet", container=container_id, cause=str(fault))
            return
        if cri.ContainerStatus.FromString(record.status).state == cri.CONTAINER_EXITED:
            for on_cell, here in record.copies.items():
                await volumes.fetch(channel, on_cell, Path(here))

    async def _status(self, channel: Channel, container_id: str) -> cri.ContainerStatus:
        stub = runtime_grpc.RuntimeServiceStub(channel)
        asked = cri.ContainerStatusRequest(container_id=container_id)
        return (await call(stub.ContainerStatus, asked, deadline=CALL_DEADLINE)).status


def require_pulled(sandbox: SandboxRecord, config: cri.ContainerConfig) -> None:
    """A container starts only on an image that its own pod has pulled. Raises Fault PRECONDITION."""
    wanted = config.image.image
    if wanted in sandbox.pulled or wanted in sandbox.pulled.values():
        return
    raise Fault(
        Kind.PRECONDITION,
        f"image {config.image.user_specified_image or wanted}",
        "this pod has not pulled it to its cell",
        "pull it with this pod's sandbox config first; imagePullPolicy Never cannot be used with cells",
        reason="ErrImageNeverPull",
    )
