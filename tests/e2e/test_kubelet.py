"""A stock kubelet with a whole control plane: our agent as its runtime, and our shim with cells.

Runs where KUBE_BIN names a folder with the Kubernetes binaries, and says loudly when it does not.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from cellwire.rpc.limits import CELL
from cellwire.rpc.mended import MendedChannel
from tests.support import node_checks
from tests.support.cluster import binaries, free_port, running_cluster
from tests.support.controller import ENVIRONMENT, ROOT, running_controller
from tests.support.registry import running_registry

PROGRAMS = binaries()
IMAGE = "registry.demo/web:1"
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None or os.geteuid() != 0, reason="KUBE_BIN names no Kubernetes binaries"),
    pytest.mark.timeout(400),
]


async def test_a_kubelet_with_the_shim_runs_its_pods_in_cells(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    kubelet_pods = tmp_path / "cluster" / "kubelet" / "pods"
    async with running_controller(
        tmp_path, f'[shim]\nsocket = "{tmp_path}/s"\npods_folder = "{kubelet_pods}"\n'
    ) as own:
        gateway = own.cloud.subnet.replace(".0/24", ".1")
        async with running_cluster(PROGRAMS, tmp_path / "cluster", tmp_path / "s", gateway) as cluster:
            await node_checks.works_as_a_node(cluster, IMAGE)
            await node_checks.takes_part_in_debugging(cluster, IMAGE, tmp_path)
            await node_checks.minds_probes_and_ends(cluster, IMAGE)
            await node_checks.takes_up_changed_settings(cluster)
            await cluster.kubectl("delete", "pods", "--all", "--timeout=60s", seconds=70)
            await node_checks.scales(cluster, IMAGE, 3)
            await own.until(lambda cells: not cells)


async def test_a_kubelet_with_the_agent_alone_is_a_whole_node(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    async with running_registry() as registry, lone_agent(tmp_path, registry) as (socket, gateway):
        async with running_cluster(PROGRAMS, tmp_path / "cluster", socket, gateway) as cluster:
            await node_checks.works_as_a_node(cluster, IMAGE)
            await node_checks.takes_part_in_debugging(cluster, IMAGE, tmp_path)
            await node_checks.minds_probes_and_ends(cluster, IMAGE)
            await node_checks.takes_up_changed_settings(cluster)
            await cluster.kubectl("delete", "pods", "--all", "--timeout=60s", seconds=70)
            await node_checks.scales(cluster, IMAGE, 5)


@asynccontextmanager
async def lone_agent(folder: Path, registry: str) -> AsyncGenerator[tuple[Path, str]]:
    """`cellagent serve` with a bridge of its own; its socket, and an address that a node may have."""
    from examples import image

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
        yield folder / "a", f"10.232.{third}.1"
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
