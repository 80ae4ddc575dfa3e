"""An agent on a socket of its own, for a test: real conmon, real OCI runtime, a real image from a real registry."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel

from cellagent.images import room as images
from cellagent.images.messages import Credentials
from cellagent.kernel import oci
from cellagent.runtime import room as runtime
from cellagent.runtime.settings import RuntimeSettings
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import serving
from hostkit import programs
from tests.support import machine
from tests.support import oci as oci_images
from tests.support.registry import running_registry

HERE = Path(__file__).resolve().parents[3]
BRIDGE, SUBNET = "rt-pods", "10.4.0.0/16"
# crun or runc for all tests of this folder; empty: whichever the agent finds better.
OCI_RUNTIME = os.environ.get("OCI_RUNTIME", "")
APPLETS = "sh sleep echo true false cat ls id hostname ip nc seq dd kill stty head mount touch mkdir md5sum wc tail tr"


class Client:
    """A CRI client and the folders of the agent that it speaks to."""

    def __init__(
        self, folder: Path, image: str, channel: Channel, room: runtime.RuntimeRoom | None = None, *, root: Path
    ) -> None:
        self.folder = folder
        self.root = root
        self.image = image
        self.channel = channel
        self.stub = runtime_grpc.RuntimeServiceStub(channel)
        self._room = room
        self._made = 0

    @property
    def room(self) -> runtime.RuntimeRoom:
        assert self._room is not None
        return self._room

    def sandbox_config(self, **fields: Any) -> cri.PodSandboxConfig:
        self._made += 1
        meta = cri.PodSandboxMetadata(name=f"pod{self._made}", uid=os.urandom(4).hex(), namespace="test")
        config = cri.PodSandboxConfig(metadata=meta, hostname="garden", log_directory=str(self.folder / "logs"))
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
        config.MergeFrom(cri.PodSandboxConfig(**fields))
        return config

    async def sandbox(self, config: cri.PodSandboxConfig | None = None) -> str:
        request = cri.RunPodSandboxRequest(config=config or self.sandbox_config())
        return (await call(self.stub.RunPodSandbox, request, deadline=30)).pod_sandbox_id

    async def create(self, sandbox: str, *command: str, name: str = "main", **fields: Any) -> str:
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name=name),
            image=cri.ImageSpec(image=self.image),
            command=command,
            log_path=f"{sandbox[:8]}-{name}.log",
        )
        if "linux" not in fields:
            config.linux.security_context.namespace_options.pid = cri.CONTAINER
        config.MergeFrom(cri.ContainerConfig(**fields))
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config)
        return (await call(self.stub.CreateContainer, request, deadline=30)).container_id

    async def start(self, container: str) -> None:
        await call(self.stub.StartContainer, cri.StartContainerRequest(container_id=container), deadline=30)

    async def run(self, *command: str, **fields: Any) -> str:
        """A container in a sandbox of its own, started."""
        container = await self.create(await self.sandbox(), *command, **fields)
        await self.start(container)
        return container

    async def status(self, container: str) -> cri.ContainerStatus:
        request = cri.ContainerStatusRequest(container_id=container)
        return (await call(self.stub.ContainerStatus, request, deadline=10)).status

    async def pid(self, container: str) -> int:
        """Its first process."""
        request = cri.ContainerStatusRequest(container_id=container, verbose=True)
        told = await call(self.stub.ContainerStatus, request, deadline=10)
        return json.loads(told.info["info"])["pid"]

    async def exited(self, container: str) -> cri.ContainerStatus:
        async with asyncio.timeout(20):
            while (status := await self.status(container)).state != cri.CONTAINER_EXITED:
                await asyncio.sleep(0.01)
        return status

    async def exec(self, container: str, *command: str, timeout: int = 10) -> cri.ExecSyncResponse:
        request = cri.ExecSyncRequest(container_id=container, cmd=command, timeout=timeout)
        return await call(self.stub.ExecSync, request, deadline=30)

    async def stop(self, container: str, timeout: int = 0) -> None:
        request = cri.StopContainerRequest(container_id=container, timeout=timeout)
        await call(self.stub.StopContainer, request, deadline=60)

    async def log(self, container: str) -> str:
        return Path((await self.status(container)).log_path).read_text()

    async def tidy(self) -> None:
        listed = await call(self.stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=10)
        for sandbox in listed.items:
            request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox.id)
            await call(self.stub.RemovePodSandbox, request, deadline=60)


@pytest.fixture(scope="session")
def pulled() -> Generator[tuple[Path, str]]:
    """A folder with a pulled image, and its reference."""
    folder = Path(tempfile.mkdtemp(prefix="runtime-test-"))
    folder.chmod(0o711)  # root of a user namespace must get through to its own files
    try:
        yield folder, asyncio.run(_pull(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def busybox() -> oci_images.Layer:
    """A root with a shell, two users and a few groups."""
    nodes: dict[str, bytes | oci_images.LayerEntry] = {name: oci_images.folder() for name in ("bin", "etc", "root")}
    nodes["tmp"] = oci_images.folder(0o1777)
    nodes["bin/busybox"] = oci_images.LayerEntry(content=Path("/bin/busybox").read_bytes(), mode=0o755)
    nodes |= {f"bin/{name}": oci_images.symlink("busybox") for name in APPLETS.split()}
    nodes["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\nweaver:x:1001:1002:w:/tmp:/bin/sh\n"
    nodes["etc/group"] = b"root:x:0:\nloom:x:1002:\nyarn:x:1003:weaver\n"
    return oci_images.layer(nodes)


async def _pull(folder: Path) -> str:
    async with running_registry() as address:
        name = f"{address}/small:1"
        await oci_images.push_image(address, "small:1", [busybox()], {"Cmd": ["sh"]})
        async with images.running(images.ImageSettings(root=folder / "images")) as room:
            await room.puller.pull(name, Credentials())
        return name


Agents = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture
def oci_runtime(request: pytest.FixtureRequest) -> Generator[str]:
    """What makes containers. A test where the choice matters names each by `with_both_runtimes`."""
    wanted = getattr(request, "param", "") or OCI_RUNTIME
    if OCI_RUNTIME and wanted != OCI_RUNTIME:
        pytest.skip(f"this run is for {OCI_RUNTIME}")
    if wanted and shutil.which(wanted, path=programs.SEARCH_PATH) is None:
        pytest.skip(f"NOT RUN: {wanted} is not installed")
    if wanted == "crun":
        with machine.without_version2():
            yield wanted
    else:
        yield wanted


with_both_runtimes = pytest.mark.parametrize("oci_runtime", oci.NAMES, indirect=True)


@pytest.fixture
def agent(pulled: tuple[Path, str], tmp_path: Path, oci_runtime: str) -> Agents:
    """An agent in this process, on a socket; what a test leaves in it is removed."""

    @asynccontextmanager
    async def running() -> AsyncGenerator[Client]:
        root, image = pulled
        async with running_agent(root, image, tmp_path, oci_runtime=oci_runtime) as client:
            yield client

    return running


@asynccontextmanager
async def running_agent(
    root: Path, image: str, folder: Path, *, pinned: Sequence[str] = (), oci_runtime: str = OCI_RUNTIME
) -> AsyncGenerator[Client]:
    """An agent in this process, its images and containers' files below `root`, all else below `folder`."""
    settings = RuntimeSettings(root=root, state=folder / "state", bridge=BRIDGE, subnet=SUBNET, oci_runtime=oci_runtime)
    image_settings = images.ImageSettings(root=root / "images", pinned=tuple(pinned))
    async with (
        images.running(image_settings) as image_room,
        runtime.running(settings, image_room.store) as room,
        serving([room.service, image_room.service], folder / "s"),
    ):
        channel = MendedChannel(CELL, path=str(folder / "s"))
        client = Client(folder, image, channel, room, root=root)
        try:
            yield client
        finally:
            await client.tidy()
            channel.close()


Processes = Callable[[], AbstractAsyncContextManager["AgentProcess"]]


class AgentProcess:
    """An agent in a process of its own, that can be killed and started again on the same folders."""

    def __init__(
        self,
        root: Path,
        image: str,
        folder: Path,
        *,
        command: Sequence[str] = (),
        more: Sequence[str] = (),
        oci_runtime: str = OCI_RUNTIME,
    ) -> None:
        self._oci_runtime = oci_runtime
        self._root, self._image, self._folder = root, image, folder
        self._command = command or (sys.executable, "-m", "cellagent")
        self._more = more
        self._process: asyncio.subprocess.Process | None = None
        self.client = Client(folder, image, MendedChannel(CELL, path=str(folder / "s")), root=root)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        socket = self._folder / "s"
        socket.unlink(missing_ok=True)
        self.client.channel.close()
        with (self._folder / "agent.log").open("ab") as words:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, "serve", "--socket", str(socket), "--root", str(self._root),
                "--state", str(self._folder / "state"), "--bridge", BRIDGE, "--subnet", SUBNET,
                "--oci-runtime", self._oci_runtime, *self._more,
                env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE}/proto"}, cwd=HERE, stdout=words, stderr=words,
            )  # fmt: skip
        async with asyncio.timeout(20):
            # The file is there a moment before anybody listens.
            while not await _listens(socket):
                await asyncio.sleep(0.02)
        self.client = Client(self._folder, self._image, MendedChannel(CELL, path=str(socket)), root=self._root)

    async def died(self) -> bool:
        """Whether it was killed and answers no more; waits for its end then."""
        assert self._process is not None
        try:
            await call(self.client.stub.Version, cri.VersionRequest(), deadline=60)
        except Fault:
            return await self._process.wait() == -signal.SIGKILL
        return False

    async def end(self, number: signal.Signals) -> None:
        self.client.channel.close()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()
        # Shown beside a failure: what an internal error was is in the log alone.
        print((self._folder / "agent.log").read_text(errors="replace")[-8000:])


async def _listens(socket: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture
def agent_process(pulled: tuple[Path, str], tmp_path: Path, oci_runtime: str) -> Processes:
    """An agent that can be killed."""

    @asynccontextmanager
    async def running() -> AsyncGenerator[AgentProcess]:
        agent = AgentProcess(*pulled, tmp_path, oci_runtime=oci_runtime)
        await agent.start()
        try:
            yield agent
        finally:
            await agent.client.tidy()
            await agent.end(signal.SIGTERM)

    return running


@pytest.fixture(scope="session", autouse=True)
def no_bridge_left() -> Generator[None]:
    yield
    if Path("/sys/class/net", BRIDGE).exists():
        asyncio.run(programs.check(["ip", "link", "del", BRIDGE]))
