"""The agent alone as a container runtime, for kubelets of tests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from examples import image
from tests.support.cluster import free_port
from tests.support.controller import ENVIRONMENT, ROOT


@asynccontextmanager
async def lone_agent(folder: Path, registry: str) -> AsyncGenerator[tuple[Path, str, str]]:
    """`cellagent serve` with a bridge of its own: its socket, an address that a node may have, its pods' network."""
    folder.mkdir(exist_ok=True)
    await asyncio.to_thread(image.push, f"http://{registry}", "web", "1")
    bridge, third = f"kt{free_port() % 1000}", free_port() % 200
    command = [
        sys.executable,
        "-m",
        "cellagent",
        "serve",
        "--socket",
        str(folder / "a"),
        "--root",
        str(folder / "root"),
    ]
    command += ["--state", str(folder / "state"), "--mirror", f"registry.demo=http://{registry}"]
    command += ["--bridge", bridge, "--subnet", f"10.231.{third}.0/24"]
    subprocess.run(["ip", "link", "add", f"{bridge}n", "type", "bridge"], check=True)
    subprocess.run(["ip", "address", "add", f"10.232.{third}.1/32", "dev", f"{bridge}n"], check=True)
    subprocess.run(["ip", "link", "set", f"{bridge}n", "up"], check=True)
    with (folder / "agent.log").open("wb") as log:
        agent = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=ENVIRONMENT, cwd=ROOT)
    try:
        while not (folder / "a").exists():
            await asyncio.sleep(0.1)
        yield folder / "a", f"10.232.{third}.1", f"10.231.{third}.0/24"
    finally:
        await remove_pods(folder / "a")
        agent.terminate()
        await agent.wait()
        for name in (bridge, f"{bridge}n"):
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


async def remove_pods(socket: Path) -> None:
    """A kubelet that ends leaves its pods, and what has exited stays for its next life: there is none here."""
    channel = MendedChannel(CELL, path=str(socket))
    stub = runtime_grpc.RuntimeServiceStub(channel)
    try:
        for one in (await call(stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=30)).items:
            await call(stub.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=one.id), deadline=60)
            await call(stub.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=one.id), deadline=60)
    finally:
        channel.close()
