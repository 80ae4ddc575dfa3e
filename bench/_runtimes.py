"""Container runtimes side by side for the benchmarks, each on a socket: our agent alone, containerd with the OCI
runtime that ours runs, and containerd as it comes, with runc.

All pull the same image from the same real registry, and are driven by the same CRI client with the same requests. The
ratio of a benchmark is that to containerd with the same OCI runtime; the other is printed beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from grpclib.client import Channel
from grpclib.config import Configuration

from bench._machine import ready_for_crun, state_in_memory
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from examples import image

HERE = Path(__file__).resolve().parent.parent
REFERENCE = "127.0.0.1:{port}/web:1"
UP_SECONDS = 30.0
DEFAULT = "runc"
"""The OCI runtime of containerd as it comes."""


@dataclass
class Runtime:
    """One runtime under test, and the pods that were made on it."""

    name: str
    channel: Channel
    folder: Path
    image: str
    made: int = 0
    times: dict[str, list[float]] = field(default_factory=dict)

    @property
    def stub(self) -> runtime_grpc.RuntimeServiceStub:
        return runtime_grpc.RuntimeServiceStub(self.channel)

    async def timed(self, what: str, work: Awaitable[object]) -> float:
        begun = time.perf_counter()
        await work
        spent = time.perf_counter() - begun
        self.times.setdefault(what, []).append(spent)
        return spent

    async def pull(self) -> None:
        stub = runtime_grpc.ImageServiceStub(self.channel)
        await call(stub.PullImage, cri.PullImageRequest(image=cri.ImageSpec(image=self.image)), deadline=300)

    def sandbox_config(self) -> cri.PodSandboxConfig:
        self.made += 1
        config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=f"pod{self.made}", uid=f"{self.name}-{self.made}", namespace="bench"),
            hostname=f"pod{self.made}",
            log_directory=str(self.folder / "logs" / str(self.made)),
        )
        config.linux.cgroup_parent = f"/bench-{self.name}"
        (self.folder / "logs" / str(self.made)).mkdir(parents=True)
        return config

    async def run_sandbox(self, config: cri.PodSandboxConfig) -> str:
        return (
            await call(self.stub.RunPodSandbox, cri.RunPodSandboxRequest(config=config), deadline=120)
        ).pod_sandbox_id

    async def create(self, sandbox: str, config: cri.PodSandboxConfig, *command: str) -> str:
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="c"),
            image=cri.ImageSpec(image=self.image),
            command=command or ("sleep", "3600"),
            log_path="c.log",
        )
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=container, sandbox_config=config)
        return (await call(self.stub.CreateContainer, request, deadline=120)).container_id

    async def start(self, container: str) -> None:
        await call(self.stub.StartContainer, cri.StartContainerRequest(container_id=container), deadline=120)

    async def pod(self, *command: str) -> tuple[str, str]:
        config = self.sandbox_config()
        sandbox = await self.run_sandbox(config)
        container = await self.create(sandbox, config, *command)
        await self.start(container)
        return sandbox, container

    async def stop(self, sandbox: str, container: str) -> None:
        await call(self.stub.StopContainer, cri.StopContainerRequest(container_id=container, timeout=0), deadline=120)
        await call(self.stub.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), deadline=120)

    async def remove(self, sandbox: str, container: str) -> None:
        await call(self.stub.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=120)
        await call(self.stub.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox), deadline=120)

    async def exec_sync(self, container: str, *command: str) -> None:
        request = cri.ExecSyncRequest(container_id=container, cmd=command, timeout=30)
        reply = await call(self.stub.ExecSync, request, deadline=60)
        assert reply.exit_code == 0, reply


@asynccontextmanager
async def all_alone() -> AsyncGenerator[list[Runtime]]:
    """Our agent, then containerd of both kinds, the image already pulled by each."""
    folder = Path(tempfile.mkdtemp(prefix="chinampa-bench-"))
    port = free_port()
    reference = REFERENCE.format(port=port)
    try:
        async with AsyncExitStack() as stack:
            program = ready_for_crun()
            await stack.enter_async_context(registry(folder, port))
            ours = await stack.enter_async_context(agent(folder / "ours", reference))
            runtimes = [ours, *await peers(stack, folder, reference, program)]
            for runtime in runtimes:
                await runtime.pull()
            yield runtimes
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def peers(stack: AsyncExitStack, folder: Path, reference: str, program: str, pause: str = "") -> list[Runtime]:
    """containerd with the OCI runtime that ours runs, and where that is another than its own, as it comes."""
    kinds = [program] if program == DEFAULT else [program, DEFAULT]
    return [
        await stack.enter_async_context(containerd(folder / kind, reference, pause, kind, place))
        for place, kind in enumerate(kinds)
    ]


@asynccontextmanager
async def registry(folder: Path, port: int) -> AsyncGenerator[None]:
    """A real registry with the small image in it."""
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}"}}\n'
    )
    async with process(folder / "registry.log", "docker-registry", "serve", str(settings)):
        await until(lambda: answers(port))
        await asyncio.to_thread(image.push, f"http://127.0.0.1:{port}", "web", "1")
        await asyncio.to_thread(image.push, f"http://127.0.0.1:{port}", "pause", "1", command=("sleep", "1000000"))
        yield


@asynccontextmanager
async def agent(folder: Path, reference: str) -> AsyncGenerator[Runtime]:
    """Our agent alone."""
    folder.mkdir(parents=True)
    path = folder / "cri.sock"
    command = [sys.executable, "-m", "cellagent", "serve", "--socket", str(path)]
    with state_in_memory() as state:
        command += ["--root", str(folder / "root"), "--state", str(state)]
        async with process(folder / "log", *command), connected("ours", path, folder, reference) as runtime:
            yield runtime


@asynccontextmanager
async def containerd(
    folder: Path, reference: str, pause: str = "", program: str = DEFAULT, place: int = 0
) -> AsyncGenerator[Runtime]:
    """containerd with this OCI runtime, a bridge network by Debian's CNI plugins. `place` keeps several apart."""
    folder.mkdir(parents=True)
    path = folder / "cri.sock"
    pause = pause or reference.replace("/web:", "/pause:")
    bridge, subnet = f"cbench{place}", f"10.{213 + place}.0.0/16"
    (folder / "cni").mkdir()
    network = {
        "cniVersion": "1.0.0",
        "name": "bench",
        "plugins": [
            {"type": "bridge", "bridge": bridge, "isGateway": True, "ipam": {
                "type": "host-local", "dataDir": str(folder / "ipam"), "ranges": [[{"subnet": subnet}]]}}
        ],
    }  # fmt: skip
    (folder / "cni" / "10-bench.conflist").write_text(json.dumps(network))
    with state_in_memory() as state:
        (folder / "config.toml").write_text(_configuration(folder, state, pause, program))
        try:
            async with (
                process(folder / "log", "containerd", "--config", str(folder / "config.toml")),
                connected(f"containerd+{program}", path, folder, reference) as runtime,
            ):
                yield runtime
        finally:
            async with process(folder / "log2", "ip", "link", "del", bridge):
                await asyncio.sleep(0.2)


def _configuration(folder: Path, state: Path, pause: str, program: str) -> str:
    cri_plugin = 'plugins."io.containerd.grpc.v1.cri"'
    return (
        f'version = 2\nroot = "{folder}/root"\nstate = "{state}"\n[grpc]\naddress = "{folder}/cri.sock"\n'
        f'[{cri_plugin}]\nsandbox_image = "{pause}"\nrestrict_oom_score_adj = true\n'
        f'[{cri_plugin}.containerd]\ndefault_runtime_name = "peer"\n'
        f'[{cri_plugin}.containerd.runtimes.peer]\nruntime_type = "io.containerd.runc.v2"\n'
        f'[{cri_plugin}.containerd.runtimes.peer.options]\nBinaryName = "{program}"\n'
        f'[{cri_plugin}.cni]\nbin_dir = "/usr/lib/cni"\nconf_dir = "{folder}/cni"\n'
    )


@asynccontextmanager
async def connected(name: str, path: Path, folder: Path, reference: str) -> AsyncGenerator[Runtime]:
    """A channel to a runtime once it answers Version; at the end its pods are removed."""
    await until(lambda: listens(path))
    channel = Channel(path=str(path), config=Configuration(http2_connection_window_size=8 << 20))
    runtime = Runtime(name, channel, folder, reference)
    try:
        told = await call(runtime.stub.Version, cri.VersionRequest(), deadline=UP_SECONDS)
        print(f"{name} is {told.runtime_name} {told.runtime_version}", flush=True)
        yield runtime
        listed = await call(runtime.stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=60)
        for sandbox in listed.items:
            await call(runtime.stub.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox.id), deadline=60)
            await call(
                runtime.stub.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox.id), deadline=60
            )
    finally:
        channel.close()


@asynccontextmanager
async def process(log: Path, *command: str) -> AsyncGenerator[None]:
    with log.open("wb") as words:
        started = await asyncio.create_subprocess_exec(
            *command, stdout=words, stderr=words, stdin=asyncio.subprocess.DEVNULL, cwd=HERE,
            env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE}/proto"},
        )  # fmt: skip
    try:
        yield
    finally:
        if started.returncode is None:
            started.terminate()
        await started.wait()


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(UP_SECONDS):
        while not ready():
            await asyncio.sleep(0.05)


def listens(path: Path) -> bool:
    """Whether somebody accepts connections there: the file comes a moment earlier, or is a dead process'."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def report(what: str, runtimes: Sequence[Runtime], step: str) -> float:
    """Print all medians of a step in milliseconds; the ratio of ours to the first of theirs."""
    ours, *theirs = (statistics.median(runtime.times[step]) for runtime in runtimes)
    print(f"{what:<28} ours {ours * 1000:9.1f} ms", end="")
    for runtime, median in zip(runtimes[1:], theirs, strict=True):
        print(f"   {runtime.name} {median * 1000:9.1f} ms {ours / median:.2f}", end="")
    print(flush=True)
    return ours / theirs[0]
