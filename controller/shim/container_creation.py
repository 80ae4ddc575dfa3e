"""What a kubelet's container needs on its cell: an image that its pod may use, and what its mounts show."""

from __future__ import annotations

from pathlib import Path

from cellwire.cri import profiles
from cellwire.cri.v1 import runtime_pb2 as cri
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.container_lifecycle import require_ready
from controller.sandboxes.records import SandboxRecord
from controller.sandboxes.room import SandboxRoom
from controller.shim import mount_translation, volume_copy
from controller.shim.images import Images
from controller.shim.syncing import VolumeSync


class Creating:
    """CreateContainer."""

    def __init__(self, room: SandboxRoom, images: Images, volume_sync: VolumeSync, pods_folder: str) -> None:
        self._room = room
        self._images = images
        self._volume_sync = volume_sync
        self._pods_folder = pods_folder

    async def create(self, request: cri.CreateContainerRequest) -> str:
        """Create the container on the sandbox's cell. Raises Fault."""
        sandbox = self._room.memory.sandbox(request.pod_sandbox_id)
        require_ready(sandbox, request.config.metadata.name)
        await self._require_images(sandbox, request)
        there = self._room.containers.on(sandbox.cell)
        config, copies, synced = await self._placed(there, sandbox, request.config)
        if not config.CDI_devices:
            config.CDI_devices.extend(cri.CDIDevice(name=name) for name in there.devices())
        asked = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox.id, config=config, sandbox_config=request.sandbox_config
        )
        log_path = ""
        if request.config.log_path:
            folder = cri.PodSandboxConfig.FromString(sandbox.config).log_directory
            log_path = str(Path(folder) / request.config.log_path)
        made = await self._room.containers.create(asked, request.config, log_path=log_path, copies=copies)
        if synced:
            self._volume_sync.look(sandbox.id)
        return made

    async def _require_images(self, sandbox: SandboxRecord, request: cri.CreateContainerRequest) -> None:
        """A container starts only on images that its own pod has pulled, or that are open to all. Raises Fault."""
        volumes_of_images = (mount.image for mount in request.config.mounts if mount.HasField("image"))
        for spec in (request.config.image, *volumes_of_images):
            if not allowed(sandbox, spec.image):
                await self._images.bring(sandbox, spec, request.sandbox_config)

    async def _placed(
        self, there: OneCell, sandbox: SandboxRecord, config: cri.ContainerConfig
    ) -> tuple[cri.ContainerConfig, dict[str, str], bool]:
        """The config with the cell's paths in it, everything there; which files come back at the end; and whether any
        volume is to be kept in sync.
        """
        mount_translation.refuse_devices(config, self._pods_folder, sandbox.uid)
        placed = cri.ContainerConfig()
        placed.CopyFrom(config)
        profiles.settle(placed.linux.security_context)
        await volume_copy.send_seccomp(there, sandbox.uid, placed.linux.security_context)
        # All are decided before the first byte is sent.
        plans = [self._plan(mount, sandbox, config.metadata.name) for mount in placed.mounts]
        copies: dict[str, str] = {}
        for mount, planned in zip(placed.mounts, plans, strict=True):
            mount.host_path = await self._place(there, sandbox, planned)
            if planned.part != ".":
                # Taken on the cell from within the volume: the worker cannot know what containers have put there.
                mount.image_sub_path = planned.part
            if planned.fate is mount_translation.Handling.RETURNED:
                copies[mount.host_path] = planned.source
        return placed, copies, any(planned.fate is mount_translation.Handling.SYNCED for planned in plans)

    def _plan(self, mount: cri.Mount, sandbox: SandboxRecord, container: str) -> mount_translation.PlannedMount:
        return mount_translation.plan(
            mount,
            pods_folder=self._pods_folder,
            uid=sandbox.uid,
            container=container,
            subpath=volume_copy.subpath(self._pods_folder, sandbox.uid, mount.host_path),
            medium=volume_copy.medium(self._pods_folder, sandbox.uid, mount.host_path),
            served=volume_copy.served(self._pods_folder, sandbox.uid, mount.host_path),
        )

    async def _place(self, there: OneCell, sandbox: SandboxRecord, planned: mount_translation.PlannedMount) -> str:
        """Put on the cell what a mount shows; its path there. Raises Fault."""
        source = Path(planned.source)
        match planned.fate:
            case mount_translation.Handling.SYNCED:
                return await self._volume_sync.put(sandbox.id, there, planned.source, planned.on_cell)
            case mount_translation.Handling.COPIED | mount_translation.Handling.RETURNED:
                return await volume_copy.send(there, source, planned.on_cell)
            case mount_translation.Handling.CELL_FOLDER:
                await volume_copy.make_folder(there, planned.on_cell, source, memory=planned.memory)
                return planned.on_cell
            case mount_translation.Handling.SERVED:
                return await volume_copy.mount_served(there, planned)
            case mount_translation.Handling.AS_IS:
                return planned.on_cell


def allowed(sandbox: SandboxRecord, image: str) -> bool:
    """Whether the sandbox's own pod has pulled an image, named by reference or id."""
    last = image.rpartition("/")[2]
    names = {image} if ":" in last or "@" in image else {image, f"{image}:latest"}
    return not names.isdisjoint(sandbox.pulled) or image in sandbox.pulled.values()
