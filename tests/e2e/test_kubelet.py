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

from tests.support.cluster import Cluster, binaries, free_port, running_cluster
from tests.support.controller import ENVIRONMENT, ROOT, running_controller
from tests.support.registry import running_registry

PROGRAMS = binaries()
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None or os.geteuid() != 0, reason="KUBE_BIN names no Kubernetes binaries"),
    pytest.mark.timeout(400),
]
COUNT = "httpd -p 8080 -h /www; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.2; done"


def pod(image: str, name: str, command: str, restart: str = "Always") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {image}
    command: [sh, -c, "{command}"]
    env: [{{name: WHO, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
    resources: {{requests: {{cpu: 50m, memory: 16Mi}}}}
    volumeMounts: [{{name: settings, mountPath: /settings}}, {{name: scratch, mountPath: /scratch}}]
  volumes:
  - {{name: settings, configMap: {{name: settings}}}}
  - {{name: scratch, emptyDir: {{}}}}
"""


async def works_as_a_node(cluster: Cluster, image: str) -> None:
    """What an ordinary user does in the first five minutes."""
    await cluster.until("default", "get", "serviceaccounts")
    await cluster.kubectl("create", "configmap", "settings", "--from-literal=colour=green")
    await cluster.kubectl("apply", "-f", "-", stdin=pod(image, "web", COUNT))
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s", seconds=70)

    said = await cluster.kubectl(
        "exec", "web", "--", "sh", "-c", "cat /settings/colour; echo; echo $WHO; touch /scratch/x"
    )
    assert said.split() == ["green", "web"]
    status, _, _ = await cluster.kubectl_raw("exec", "web", "--", "sh", "-c", "exit 7")
    assert status == 7
    said = await cluster.kubectl("exec", "-i", "web", "--", "cat", stdin="through the pipe")
    assert said == "through the pipe"
    assert (await cluster.kubectl("logs", "web")).startswith("line 1\nline 2\n")
    assert "Hello" in await forwarded(cluster)

    failing = pod(image, "once", "echo last words; echo why > /dev/termination-log; exit 3", "Never")
    await cluster.kubectl("apply", "-f", "-", stdin=failing)
    state = "jsonpath={.status.containerStatuses[0].state.terminated}"
    ended = await cluster.until('"exitCode":3', "get", "pod", "once", "-o", state)
    assert "why" in ended
    assert await cluster.kubectl("logs", "once") == "last words\n"

    await cluster.kubectl("delete", "pod", "web", "once", "--timeout=60s", seconds=70)


async def forwarded(cluster: Cluster) -> str:
    """The pod's page through kubectl port-forward."""
    process = await asyncio.create_subprocess_exec(
        "kubectl", f"--kubeconfig={cluster.kubeconfig}", "port-forward", "pod/web", ":8080", stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(line.split("127.0.0.1:")[1].split()[0]))
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        page = (await reader.read()).decode()
        writer.close()
        return page
    finally:
        process.terminate()
        await process.wait()


async def test_a_kubelet_with_the_shim_runs_its_pods_in_cells(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    kubelet_pods = tmp_path / "cluster" / "kubelet" / "pods"
    async with running_controller(
        tmp_path, f'[shim]\nsocket = "{tmp_path}/s"\npods_folder = "{kubelet_pods}"\n'
    ) as own:
        gateway = own.cloud.subnet.replace(".0/24", ".1")
        async with running_cluster(PROGRAMS, tmp_path / "cluster", tmp_path / "s", gateway) as cluster:
            await works_as_a_node(cluster, "registry.demo/web:1")
            await own.until(lambda cells: not cells)


async def test_a_kubelet_with_the_agent_alone_is_a_whole_node(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    async with running_registry() as registry, lone_agent(tmp_path, registry) as (socket, gateway):
        async with running_cluster(PROGRAMS, tmp_path / "cluster", socket, gateway) as cluster:
            await works_as_a_node(cluster, "registry.demo/web:1")
            await cluster.kubectl("create", "deployment", "many", "--image=registry.demo/web:1", "--replicas=1")
            await cluster.kubectl("scale", "deployment", "many", "--replicas=5")
            await cluster.until("5/5", "get", "deployment", "many")
            await cluster.kubectl("scale", "deployment", "many", "--replicas=0")
            await cluster.until("0/0", "get", "deployment", "many")


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
        agent.terminate()
        await agent.wait()
        for name in (bridge, f"{bridge}n"):
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
