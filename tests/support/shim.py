"""What a kubelet does to a shim, done by a small CRI client: pods with volumes laid out as a kubelet lays them out."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from tests.support.controller import Controller, running_controller

IMAGE = "registry.demo/web:1"
STANDBY = '[[standby]]\ncount = 1\ncpu = "100m"\nmemory = "64Mi"\n'


class RunningShim:
    """A controller with its shim, asked as a kubelet would ask."""

    def __init__(self, controller: Controller, socket: Path, pods_folder: Path, logs: Path) -> None:
        self.controller = controller
        self.pods_folder = pods_folder
        self.logs = logs
        self._socket = socket
        self._channel = MendedChannel(CELL, path=str(socket))

    @property
    def runtime(self) -> runtime_grpc.RuntimeServiceStub:
        """CRI's RuntimeService."""
        return runtime_grpc.RuntimeServiceStub(self._channel)

    @property
    def images(self) -> runtime_grpc.ImageServiceStub:
        """CRI's ImageService."""
        return runtime_grpc.ImageServiceStub(self._channel)

    def redial(self) -> None:
        """The controller was started again: a new connection."""
        self._channel.close()
        self._channel = MendedChannel(CELL, path=str(self._socket))

    def close(self) -> None:
        """No more calls."""
        self._channel.close()

    def config(self, uid: str = "", attempt: int = 0) -> cri.PodSandboxConfig:
        """A sandbox config for a new pod, or for one that is known."""
        uid = uid or secrets.token_hex(4)
        (self.pods_folder / uid / "volumes").mkdir(parents=True, exist_ok=True)
        return cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=f"pod-{uid}", uid=uid, namespace="default", attempt=attempt),
            hostname=f"pod-{uid}",
            log_directory=str(self.logs / uid),
            linux=cri.LinuxPodSandboxConfig(),
        )

    async def run(self, config: cri.PodSandboxConfig, deadline: float = 60.0) -> str:
        """RunPodSandbox."""
        asked = cri.RunPodSandboxRequest(config=config)
        return (await call(self.runtime.RunPodSandbox, asked, deadline=deadline)).pod_sandbox_id

    async def create(
        self,
        sandbox: str,
        config: cri.PodSandboxConfig,
        *command: str,
        mounts: Sequence[cri.Mount] = (),
        attempt: int = 0,
        more: cri.ContainerConfig | None = None,
    ) -> str:
        """PullImage and CreateContainer; `more` is merged into the config."""
        pull = cri.PullImageRequest(image=cri.ImageSpec(image=IMAGE), sandbox_config=config)
        image = (await call(self.images.PullImage, pull, deadline=60)).image_ref
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="c", attempt=attempt),
            image=cri.ImageSpec(image=image, user_specified_image=IMAGE),
            command=command or ("sleep", "3600"),
            mounts=mounts,
            log_path=f"c/{attempt}.log",
        )
        if more is not None:
            container.MergeFrom(more)
        asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=container, sandbox_config=config)
        return (await call(self.runtime.CreateContainer, asked, deadline=60)).container_id

    async def start(self, container: str) -> None:
        """StartContainer."""
        await call(self.runtime.StartContainer, cri.StartContainerRequest(container_id=container), deadline=60)

    async def pod(self, *command: str, mounts: Sequence[cri.Mount] = (), uid: str = "") -> tuple[str, str]:
        """A running pod of one container: sandbox, container."""
        config = self.config(uid)
        sandbox = await self.run(config)
        container = await self.create(sandbox, config, *command, mounts=mounts)
        await self.start(container)
        return sandbox, container

    async def said(self, container: str, command: str, deadline: float = 30.0) -> str:
        """What a shell command in the container prints; its exit code is appended where it is not 0."""
        asked = cri.ExecSyncRequest(container_id=container, cmd=["sh", "-c", command], timeout=int(deadline))
        reply = await call(self.runtime.ExecSync, asked, deadline=deadline + 5)
        return reply.stdout.decode() + (f"exit {reply.exit_code}: {reply.stderr.decode()}" if reply.exit_code else "")

    async def status(self, container: str) -> cri.ContainerStatus:
        """ContainerStatus."""
        asked = cri.ContainerStatusRequest(container_id=container)
        return (await call(self.runtime.ContainerStatus, asked, deadline=10)).status

    async def sandbox_status(self, sandbox: str) -> cri.PodSandboxStatus:
        """PodSandboxStatus."""
        asked = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
        return (await call(self.runtime.PodSandboxStatus, asked, deadline=10)).status

    async def remove(self, sandbox: str) -> None:
        """StopPodSandbox and RemovePodSandbox."""
        await call(self.runtime.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), deadline=90)
        await call(self.runtime.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox), deadline=90)

    def volume(self, uid: str, plugin: str, name: str) -> KubeletVolume:
        """A volume of a pod."""
        return KubeletVolume(self.pods_folder / uid / "volumes" / f"kubernetes.io~{plugin}" / name)


class KubeletVolume:
    """A volume as a kubelet writes it: generations beside each other, and a link to the current one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def write(self, keys: dict[str, bytes], *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        """Make these the contents, in the kubelet's order."""
        before = self._current()
        generation = self.folder / f"..2026_{secrets.token_hex(4)}"
        generation.mkdir(mode=0o755)
        for key, content in keys.items():
            (generation / key).write_bytes(content)
            (generation / key).chmod(mode)
            os.chown(generation / key, *owner)
        (self.folder / "..data_tmp").symlink_to(generation.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        for key in keys:
            if not (self.folder / key).is_symlink():
                (self.folder / key).symlink_to(f"..data/{key}")
        for path in self.folder.iterdir():
            if not path.name.startswith("..") and path.name not in keys:
                path.unlink()
        if before is not None:
            shutil.rmtree(before)

    def mount(self, at: str) -> cri.Mount:
        """This volume, mounted read-only."""
        return cri.Mount(host_path=str(self.folder), container_path=at, readonly=True)

    def _current(self) -> Path | None:
        try:
            return self.folder / (self.folder / "..data").readlink()
        except FileNotFoundError:
            return None


@contextmanager
def shim_of(controller: Controller, folder: Path) -> Generator[RunningShim]:
    """The shim of a controller whose config file has `settings_in(folder)`."""
    shim = RunningShim(controller, folder / "s", folder / "pods", folder / "logs")
    try:
        yield shim
    finally:
        shim.close()


def settings_in(folder: Path) -> str:
    """Of a shim below this folder."""
    return f'[shim]\nsocket = "{folder / "s"}"\npods_folder = "{folder / "pods"}"\n'


@asynccontextmanager
async def running_shim(folder: Path, more: str = STANDBY, lease: int = 10) -> AsyncGenerator[RunningShim]:
    """A controller process with local cells and the shim on a socket; nothing of it is left afterwards."""
    async with running_controller(folder, settings_in(folder) + more, lease) as controller:
        with shim_of(controller, folder) as shim:
            yield shim
