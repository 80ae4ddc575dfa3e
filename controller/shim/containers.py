"""The life of a container through the shim: its files are put on the cell, and the cell's runtime does the rest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec
import structlog
from grpclib.client import Channel

from cellwire.cri import profiles
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from controller.fleet.cells import Cells
from controller.model.cell import CellState
from controller.sandboxes.carried import Carrier
from controller.shim import ending, follower, mirror, mounts, volumes
from controller.shim.following import Following
from controller.shim.images import Images
from controller.shim.memory import Memory
from controller.shim.reach import reach
from controller.shim.records import ContainerRecord, SandboxRecord
from controller.shim.resize import require_fits
from controller.shim.syncing import VolumeSync

log = structlog.get_logger()
CALL_DEADLINE = 120.0


class Containers:
    """CreateContainer, StartContainer, StopContainer, RemoveContainer, ExecSync."""

    def __init__(
        self,
        cells: Cells,
        memory: Memory,
        following: Following,
        images: Images,
        volume_sync: VolumeSync,
        carrier: Carrier,
        pods_folder: str,
    ) -> None:
        self._cells = cells
        self._carrier = carrier
        self._images = images
        self._volume_sync = volume_sync
        self._memory = memory
        self._following = following
        self._pods_folder = pods_folder

    async def create(self, request: cri.CreateContainerRequest) -> str:
        """Create the container on the sandbox's cell. Raises Fault."""
        sandbox = self._memory.sandbox(request.pod_sandbox_id)
        _require_ready(sandbox, request.config.metadata.name)
        await self._require_images(sandbox, request)
        channel = await reach(self._cells, sandbox.cell)
        config, copies = await self._placed(channel, sandbox, request.config)
        asked = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox.id, config=config, sandbox_config=request.sandbox_config
        )
        container_id = await self._created(runtime_grpc.RuntimeServiceStub(channel), asked)
        status = await self._status(channel, container_id)
        log_path = ""
        if request.config.log_path:
            folder = cri.PodSandboxConfig.FromString(sandbox.config).log_directory
            log_path = str(Path(folder) / request.config.log_path)
        status.log_path = log_path
        own = _as_asked(status.mounts, request.config.mounts)
        del status.mounts[:]
        status.mounts.extend(own)
        record = ContainerRecord(
            id=container_id,
            sandbox=sandbox.id,
            cell=sandbox.cell,
            status=status.SerializeToString(),
            log_path=log_path,
            copies=copies,
        )
        await self._carrier.put(channel, record.cell, record.id, msgspec.msgpack.encode(record))
        await self._memory.put_container(record)
        self._following.start_log(record)
        self._volume_sync.look(sandbox.id)
        return container_id

    async def start(self, container_id: str) -> None:
        """Start the container. Raises Fault."""
        record = self._memory.container(container_id)
        name = cri.ContainerStatus.FromString(record.status).metadata.name
        _require_ready(self._memory.sandbox(record.sandbox), name)
        channel = await reach(self._cells, record.cell)
        stub = runtime_grpc.RuntimeServiceStub(channel)
        try:
            await call(stub.StartContainer, cri.StartContainerRequest(container_id=record.id), deadline=CALL_DEADLINE)
        finally:
            await self._learn(channel, record.id)
            self._following.started(record.sandbox)

    async def stop(self, container_id: str, grace: int) -> None:
        """Stop the container within its grace. The unknown and the lost are stopped already."""
        try:
            record = self._memory.container(container_id)
        except Fault:
            return
        if mirror.exited(record.status):
            return
        channel = await reach(self._cells, record.cell)
        if (cell := self._cells.get(record.cell)) is not None:
            grace = round(ending.within(cell.announced, grace, time.time()))
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
        await self.stop(record.id, 0)
        await self._following.log_complete(record.id)
        if self._on_cell(record):
            stub = runtime_grpc.RuntimeServiceStub(await reach(self._cells, record.cell))
            asked = cri.RemoveContainerRequest(container_id=record.id)
            await call(stub.RemoveContainer, asked, deadline=CALL_DEADLINE)
        await self._memory.forget_container(record)
        self._following.removed(record.id)

    async def update(self, request: cri.UpdateContainerResourcesRequest) -> cri.UpdateContainerResourcesResponse:
        """Change what a container may use, within what its cell has. Raises Fault."""
        record = self._memory.container(request.container_id)
        cell = self._cells.get(record.cell)
        if cell is not None:
            name = cri.ContainerStatus.FromString(record.status).metadata.name
            require_fits(f"container {name}", request.linux, cell)
        channel = await reach(self._cells, record.cell)
        request.container_id = record.id
        stub = runtime_grpc.RuntimeServiceStub(channel)
        reply = await call(stub.UpdateContainerResources, request, deadline=CALL_DEADLINE)
        await self._learn(channel, record.id)
        return reply

    async def stub_of(self, container_id: str) -> tuple[runtime_grpc.RuntimeServiceStub, str]:
        """The runtime that holds a container, and the container's whole id. Raises Fault."""
        record = self._memory.container(container_id)
        return runtime_grpc.RuntimeServiceStub(await reach(self._cells, record.cell)), record.id

    async def _created(self, stub: runtime_grpc.RuntimeServiceStub, asked: cri.CreateContainerRequest) -> str:
        try:
            return (await call(stub.CreateContainer, asked, deadline=CALL_DEADLINE)).container_id
        except Fault as fault:
            if fault.kind is not Kind.EXISTS or not await self._unknown_removed(stub, asked):
                raise
        return (await call(stub.CreateContainer, asked, deadline=CALL_DEADLINE)).container_id

    async def _unknown_removed(self, stub: runtime_grpc.RuntimeServiceStub, asked: cri.CreateContainerRequest) -> bool:
        """Remove a container that the cell made for a controller that died before it wrote it down. Raises Fault."""
        wanted = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=asked.pod_sandbox_id))
        found = (await call(stub.ListContainers, wanted, deadline=CALL_DEADLINE)).containers
        unknown = [one for one in found if one.metadata == asked.config.metadata and not self._memory.knows(one.id)]
        for one in unknown:
            log.info("a container that nobody knew of is made anew", container=one.id, sandbox=asked.pod_sandbox_id)
            await call(stub.RemoveContainer, cri.RemoveContainerRequest(container_id=one.id), deadline=CALL_DEADLINE)
        return bool(unknown)

    def _on_cell(self, record: ContainerRecord) -> bool:
        """Whether there is a cell that may still have the container; one that is lost takes all with it."""
        cell = self._cells.get(record.cell)
        over = cell is None or cell.state in {CellState.RETIRING, CellState.LOST, CellState.GONE}
        return not over and not self._memory.sandbox(record.sandbox).released

    async def _require_images(self, sandbox: SandboxRecord, request: cri.CreateContainerRequest) -> None:
        """A container starts only on images that its own pod has pulled, or that are open to all. Raises Fault."""
        volumes_of_images = (mount.image for mount in request.config.mounts if mount.HasField("image"))
        for spec in (request.config.image, *volumes_of_images):
            if not allowed(sandbox, spec.image):
                await self._images.bring(sandbox, spec, request.sandbox_config)

    async def _placed(
        self, channel: Channel, sandbox: SandboxRecord, config: cri.ContainerConfig
    ) -> tuple[cri.ContainerConfig, dict[str, str]]:
        """The config with the cell's paths in it, everything there; and which files come back at the end."""
        mounts.refuse_devices(config, self._pods_folder, sandbox.uid)
        placed = cri.ContainerConfig()
        placed.CopyFrom(config)
        profiles.settle(placed.linux.security_context)
        await volumes.send_seccomp(channel, sandbox.uid, placed.linux.security_context)
        # All are decided before the first byte is sent.
        plans = [self._plan(mount, sandbox, config.metadata.name) for mount in placed.mounts]
        copies: dict[str, str] = {}
        for mount, planned in zip(placed.mounts, plans, strict=True):
            mount.host_path = await self._place(channel, sandbox, planned)
            if planned.fate is mounts.Fate.RETURNED:
                copies[mount.host_path] = planned.source
        return placed, copies

    def _plan(self, mount: cri.Mount, sandbox: SandboxRecord, container: str) -> mounts.PlannedMount:
        return mounts.plan(
            mount,
            pods_folder=self._pods_folder,
            uid=sandbox.uid,
            container=container,
            subpath=volumes.subpath(self._pods_folder, sandbox.uid, mount.host_path),
            medium=volumes.medium(self._pods_folder, sandbox.uid, mount.host_path),
        )

    async def _place(self, channel: Channel, sandbox: SandboxRecord, planned: mounts.PlannedMount) -> str:
        """Put on the cell what a mount shows; its path there. Raises Fault."""
        source = Path(planned.source)
        match planned.fate:
            case mounts.Fate.SYNCED:
                return await self._volume_sync.put(sandbox.id, channel, planned.source, planned.on_cell)
            case mounts.Fate.COPIED | mounts.Fate.RETURNED:
                return await volumes.send(channel, source, planned.on_cell)
            case mounts.Fate.CELL_FOLDER:
                await volumes.make_folder(channel, planned.on_cell, source, memory=planned.memory)
                if planned.part != ".":
                    await volumes.make_folder(channel, f"{planned.on_cell}/{planned.part}", source / planned.part)
                return str(PurePosixPath(planned.on_cell) / planned.part)
            case mounts.Fate.AS_IS:
                return planned.on_cell

    async def _learn(self, channel: Channel, container_id: str) -> None:
        """Take the container's state over at once, so that the kubelet's next question finds it."""
        try:
            await follower.learn(self._memory, channel, await self._status(channel, container_id))
        except Fault as fault:
            log.info("container state not known yet", container=container_id, cause=str(fault))

    async def _status(self, channel: Channel, container_id: str) -> cri.ContainerStatus:
        stub = runtime_grpc.RuntimeServiceStub(channel)
        asked = cri.ContainerStatusRequest(container_id=container_id)
        return (await call(stub.ContainerStatus, asked, deadline=CALL_DEADLINE)).status


def _as_asked(told: Sequence[cri.Mount], asked: Sequence[cri.Mount]) -> list[cri.Mount]:
    """The mounts with this worker's paths, and of images what the cell says which they are."""
    own: list[cri.Mount] = []
    for on_cell, wanted in zip(told, asked, strict=True):
        mount = cri.Mount()
        mount.CopyFrom(wanted)
        if wanted.HasField("image"):
            mount.image.image_ref = on_cell.image.image_ref
        own.append(mount)
    return own


def _require_ready(sandbox: SandboxRecord, container: str) -> None:
    if sandbox.released or cri.PodSandboxStatus.FromString(sandbox.status).state != cri.SANDBOX_READY:
        cause = f"its sandbox {sandbox.id[:13]} is not ready"
        raise Fault(Kind.PRECONDITION, f"container {container}", cause, "run the pod anew")


def allowed(sandbox: SandboxRecord, image: str) -> bool:
    """Whether the sandbox's own pod has pulled an image, named by reference or id."""
    last = image.rpartition("/")[2]
    names = {image} if ":" in last or "@" in image else {image, f"{image}:latest"}
    return not names.isdisjoint(sandbox.pulled) or image in sandbox.pulled.values()
