"""Our shim with local cells beside Debian's containerd, each on a CRI socket, for the benchmarks at a distance.

Cells are joined before a round begins (a warm pool), and have two CPUs each, as containerd has.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shutil
import ssl
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from bench._machine import ready_for_crun
from bench._runtimes import Runtime, answers, connected, free_port, peers, process, until
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.sweep import sweep
from examples import image

HERE = Path(__file__).resolve().parent.parent
RUN = "import sys; from controller.cli import main; sys.exit(main())"
CPUS = 2


class ShimRuntime(Runtime):
    """The shim as a runtime: a pod pulls to its own cell, and a warm cell is waited for before it is asked for."""

    warm: int = 1
    api: str = ""
    """Address of the pods API; "" where it is not served."""

    def sandbox_config(self) -> cri.PodSandboxConfig:
        config = super().sandbox_config()
        config.linux.resources.cpu_shares = CPUS * 1024
        return config

    async def cells_ready(self, holding: str = "") -> None:
        """Wait until the whole pool has booted and nothing else boots; with the image that it is to hold."""
        async with asyncio.timeout(120):
            while True:
                reply = await call(self.stub.Status, cri.StatusRequest(verbose=True), deadline=10)
                cells = json.loads(reply.info["config"])["cells"]
                booting = cells.keys() & {"launching", "booting", "requested"}
                enough = cells.get("ready", 0) >= self.warm and not booting
                if enough and (not holding or await self._held() >= self.warm):
                    return
                await asyncio.sleep(0.1)

    async def _held(self) -> int:
        """On how many warm cells the image is that they are to hold."""
        connector = aiohttp.UnixConnector(str(self.folder / "state/admin.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://controller/status") as reply:
                return sum(one["there"] for one in (await reply.json())["images"])

    def api_session(self) -> aiohttp.ClientSession:
        """A client of the pods API, as its kubeconfig has it."""
        config = json.loads((self.folder / "state/kubeconfig").read_text())
        trusted = ssl.create_default_context(
            cadata=base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        )
        self.api = config["clusters"][0]["cluster"]["server"]
        token = config["users"][0]["user"]["token"]
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, connector=aiohttp.TCPConnector(ssl=trusted)
        )

    async def pull_for(self, config: cri.PodSandboxConfig) -> None:
        """PullImage to the cell of one pod."""
        asked = cri.PullImageRequest(image=cri.ImageSpec(image=self.image), sandbox_config=config)
        await call(runtime_grpc.ImageServiceStub(self.channel).PullImage, asked, deadline=300)

    async def pod(self, *command: str) -> tuple[str, str]:
        await self.cells_ready()
        config = self.sandbox_config()
        sandbox = await self.run_sandbox(config)
        await self.pull_for(config)
        container = await self.create(sandbox, config, *command)
        await self.start(container)
        return sandbox, container


@asynccontextmanager
async def all_with_shim() -> AsyncGenerator[tuple[ShimRuntime, list[Runtime]]]:
    """The shim, and containerd of both kinds with the image already pulled."""
    folder = Path(tempfile.mkdtemp(prefix="chinampa-bench-"))
    port = free_port()
    reference = f"127.0.0.1:{port}/web:1"
    try:
        async with AsyncExitStack() as stack:
            program = ready_for_crun()
            await stack.enter_async_context(_registry(folder, port))
            ours = await stack.enter_async_context(shim(folder / "ours", port, reference))
            theirs = await peers(stack, folder, reference, program)
            for runtime in theirs:
                await runtime.pull()
            yield ours, theirs
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _registry(folder: Path, port: int) -> AsyncGenerator[None]:
    """On every address: cells reach it at their gateway, containerd at the loopback."""
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: ':{port}'}}\n"
    )
    async with process(folder / "registry.log", "docker-registry", "serve", str(settings)):
        await until(lambda: answers(port))
        await asyncio.to_thread(image.push, f"http://127.0.0.1:{port}", "web", "1")
        await asyncio.to_thread(image.push, f"http://127.0.0.1:{port}", "pause", "1", command=("sleep", "1000000"))
        yield


@asynccontextmanager
async def shim(
    folder: Path, registry: int, reference: str, *, holds: str = "", api: bool = False
) -> AsyncGenerator[ShimRuntime]:
    """A controller with a shim and a warm cell, which holds the image `holds`; with the pods API too where asked."""
    folder.mkdir()
    name = secrets.token_hex(3)
    third = int(name[:2], 16)
    gateway = f"10.233.{third}.1"
    cloud = LocalSettings(
        cluster=f"bench-{name}", root=folder / "cloud", bridge=f"cb{name}", subnet=f"10.233.{third}.0/24"
    )
    (folder / "controller.toml").write_text(
        f'state = "{folder}/state"\nlog_level = "warning"\n'
        f'[link]\nhost = "{gateway}"\nport = {free_port()}\n[api]\nport = {free_port()}\nenabled = {str(api).lower()}\n'
        f'[shim]\nsocket = "{folder}/s"\npods_folder = "{folder}/pods"\n'
        f'[cloud.local]\ncluster = "{cloud.cluster}"\nroot = "{cloud.root}"\nbridge = "{cloud.bridge}"\n'
        f'subnet = "{cloud.subnet}"\nvisible = ["{HERE}"]\n'
        f'[[standby]]\ncount = {ShimRuntime.warm}\ncpu = "{CPUS}"\nmemory = "64Mi"\n'
        f"images = {json.dumps([holds] if holds else [])}\n"
        f'[[registries]]\nhost = "127.0.0.1:{registry}"\nmirrors = ["http://{gateway}:{registry}"]\n'
    )
    command = [sys.executable, "-c", RUN, "controller", "--config", str(folder / "controller.toml")]
    try:
        async with (
            process(folder / "log", *command),
            connected("ours", folder / "s", folder, reference) as runtime,
        ):
            ours = ShimRuntime(runtime.name, runtime.channel, folder, reference)
            await ours.cells_ready()
            yield ours
    finally:
        await sweep(cloud)
