"""The life of a container through the shim: its files are put on the cell, and the cell's runtime does the rest."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath

import msgspec
import structlog

from cellwire.cri import profiles
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.model.cell import CellState
from controller.model.names import CellName
from controller.sandboxes import ending, reducer
from controller.sandboxes.carried import Carrier
from controller.sandboxes.cell import PATIENCE, OneCell
from controller.sandboxes.memory import Memory
from controller.sandboxes.records import ContainerRecord, SandboxRecord
from controller.sandboxes.resize import require_fits
from controller.shim import follower, mounts, volumes
from controller.shim.following import Following
from controller.shim.images import Images
from controller.shim.syncing import VolumeSync

log = structlog.get_logger()


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
        there = self._on(sandbox.cell)
        config, copies = await self._placed(there, sandbox, request.config)
        asked = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox.id, config=config, sandbox_config=request.sandbox_config
        )
        container_id = await there.create_container(asked, self._memory.knows_any)
        status = await there.container_status(container_id)
        if status is None:
            raise Fault(Kind.UNAVAILABLE, f"container {container_id[:13]}", "its cell knows it no more", "ask again")
        reducer.name_container(status, request.config)
        log_path = ""
        if request.config.log_path:
            folder = cri.PodSandboxConfig.FromString(sandbox.config).log_directory
            log_path = str(Path(folder) / request.config.log_path)
        status.log_path = log_path
        record = ContainerRecord(
            id=container_id,
            sandbox=sandbox.id,
            cell=sandbox.cell,
            status=status.SerializeToString(),
            log_path=log_path,
            copies=copies,
        )
        await self._carrier.put(there, record.id, msgspec.msgpack.encode(record))
        await self._memory.put_container(record)
        self._following.start_log(record)
        self._volume_sync.look(sandbox.id)
        return container_id

    async def start(self, container_id: str) -> None:
        """Start the container. Raises Fault."""
        record = self._memory.container(container_id)
        name = cri.ContainerStatus.FromString(record.status).metadata.name
        _require_ready(self._memory.sandbox(record.sandbox), name)
        there = self._on(record.cell)
        try:
            await there.start_container(record.id)
        finally:
            await self._learn(there, record.id)
            self._following.started(record.sandbox)

    async def stop(self, container_id: str, grace: int) -> None:
        """Stop the container within its grace. The unknown and the lost are stopped already."""
        try:
            record = self._memory.container(container_id)
        except Fault:
            return
        if reducer.exited(record.status):
            return
        there = self._on(record.cell)
        await there.connect()  # how much is left of its instance is known afterwards
        if (cell := self._cells.get(record.cell)) is not None:
            grace = round(ending.within(cell.announced, grace, time.time()))
        await there.stop_container(record.id, grace)
        await self._learn(there, record.id)

    async def remove(self, container_id: str) -> None:
        """Remove the container on its cell, if that still lives, and forget it. The unknown is removed already."""
        try:
            record = self._memory.container(container_id)
        except Fault:
            return
        await self.stop(record.id, 0)
        await self._following.log_complete(record.id)
        if self._on_cell(record):
            await self._on(record.cell).remove_container(record.id)
        await self._memory.forget_container(record)
        self._following.removed(record.id)

    async def update(self, request: cri.UpdateContainerResourcesRequest) -> cri.UpdateContainerResourcesResponse:
        """Change what a container may use, within what its cell has. Raises Fault."""
        record = self._memory.container(request.container_id)
        cell = self._cells.get(record.cell)
        if cell is not None:
            name = cri.ContainerStatus.FromString(record.status).metadata.name
            require_fits(f"container {name}", request.linux, cell)
        there = self._on(record.cell)
        request.container_id = record.id
        await there.update_container(request)
        await self._learn(there, record.id)
        return cri.UpdateContainerResourcesResponse()

    async def exec_sync(self, request: cri.ExecSyncRequest, deadline: float) -> cri.ExecSyncResponse:
        """Run a command in a container and wait for it. Raises Fault."""
        record = self._memory.container(request.container_id)
        request.container_id = record.id
        return await self._on(record.cell).exec_sync(request, deadline)

    def _on(self, cell: CellName) -> OneCell:
        return OneCell(self._cells, cell, patience=PATIENCE)

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
        self, there: OneCell, sandbox: SandboxRecord, config: cri.ContainerConfig
    ) -> tuple[cri.ContainerConfig, dict[str, str]]:
        """The config with the cell's paths in it, everything there; and which files come back at the end."""
        mounts.refuse_devices(config, self._pods_folder, sandbox.uid)
        placed = cri.ContainerConfig()
        placed.CopyFrom(config)
        profiles.settle(placed.linux.security_context)
        await volumes.send_seccomp(there, sandbox.uid, placed.linux.security_context)
        # All are decided before the first byte is sent.
        plans = [self._plan(mount, sandbox, config.metadata.name) for mount in placed.mounts]
        copies: dict[str, str] = {}
        for mount, planned in zip(placed.mounts, plans, strict=True):
            mount.host_path = await self._place(there, sandbox, planned)
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

    async def _place(self, there: OneCell, sandbox: SandboxRecord, planned: mounts.PlannedMount) -> str:
        """Put on the cell what a mount shows; its path there. Raises Fault."""
        source = Path(planned.source)
        match planned.fate:
            case mounts.Fate.SYNCED:
                return await self._volume_sync.put(sandbox.id, there, planned.source, planned.on_cell)
            case mounts.Fate.COPIED | mounts.Fate.RETURNED:
                return await volumes.send(there, source, planned.on_cell)
            case mounts.Fate.CELL_FOLDER:
                await volumes.make_folder(there, planned.on_cell, source, memory=planned.memory)
                if planned.part != ".":
                    await volumes.make_folder(there, f"{planned.on_cell}/{planned.part}", source / planned.part)
                return str(PurePosixPath(planned.on_cell) / planned.part)
            case mounts.Fate.AS_IS:
                return planned.on_cell

    async def _learn(self, there: OneCell, container_id: str) -> None:
        """Take the container's state over at once, so that the kubelet's next question finds it."""
        try:
            await follower.learn(self._memory, there, container_id, await there.container_status(container_id))
        except Fault as fault:
            log.info("container state not known yet", container=container_id, cause=str(fault))


def _require_ready(sandbox: SandboxRecord, container: str) -> None:
    if sandbox.released or cri.PodSandboxStatus.FromString(sandbox.status).state != cri.SANDBOX_READY:
        cause = f"its sandbox {sandbox.id[:13]} is not ready"
        raise Fault(Kind.PRECONDITION, f"container {container}", cause, "run the pod anew")


def allowed(sandbox: SandboxRecord, image: str) -> bool:
    """Whether the sandbox's own pod has pulled an image, named by reference or id."""
    last = image.rpartition("/")[2]
    names = {image} if ":" in last or "@" in image else {image, f"{image}:latest"}
    return not names.isdisjoint(sandbox.pulled) or image in sandbox.pulled.values()
