"""A Kubernetes control plane and one kubelet on this machine, from binaries that the caller has.

Real etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubelet; nothing is downloaded. The kubelet talks
to whatever container runtime listens on the given socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
NODE = "test-node"
CLUSTER_DNS = "10.96.0.10"
START_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: `kubeconfig` is its administrator's, `kubelet_folder` the kubelet's root."""

    kubeconfig: Path
    kubelet_folder: Path
    folder: Path

    async def kubectl(self, *arguments: str, stdin: str = "", seconds: float = 60.0) -> str:
        """Run kubectl; what it printed. Raises AssertionError with its words where it failed."""
        status, stdout, stderr = await self.kubectl_raw(*arguments, stdin=stdin, seconds=seconds)
        assert status == 0, f"kubectl {' '.join(arguments)}: {status}: {stderr or stdout}"
        return stdout

    async def kubectl_raw(self, *arguments: str, stdin: str = "", seconds: float = 60.0) -> tuple[int, str, str]:
        """Run kubectl; exit status, output, errors."""
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            f"--kubeconfig={self.kubeconfig}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(seconds):
                stdout, stderr = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, stdout.decode(), stderr.decode()

    async def until(self, wanted: str, *arguments: str, seconds: float = 60.0) -> str:
        """Repeat kubectl until its output contains `wanted`; the output."""
        output = ""
        for _ in range(int(seconds * 2)):
            _, output, errors = await self.kubectl_raw(*arguments)
            if wanted in output:
                return output
            output = output or errors
            await asyncio.sleep(0.5)
        raise AssertionError(f"kubectl {' '.join(arguments)} never said {wanted!r}; last: {output}")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the API server will be and the node's own token: for a neighbour that is there before the server is."""

    port: int
    token: str

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig with the node's own rights."""
        return _kubeconfig(path, self.port, self.token)


def binaries() -> Path | None:
    """The folder of KUBE_BIN, if all the programs are there; else None, said loudly."""
    folder = Path(os.environ.get("KUBE_BIN", "/nonexistent"))
    missing = [name for name in PROGRAMS if not (folder / name).exists()]
    if not missing:
        return folder
    print(f"NOT RUN against a real kubelet: KUBE_BIN={folder} lacks {', '.join(missing)}", file=sys.stderr)
    return None


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running_cluster(
    programs: Path,
    folder: Path,
    runtime_socket: Path,
    node_address: str,
    *,
    entry: Entry | None = None,
    kubelet: Sequence[str] = (),
) -> AsyncGenerator[Cluster]:
    """Start everything, wait until the node is Ready, stop everything. `node_address` must not be loopback; `kubelet`
    is the command of one that is set up otherwise.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_unmount_below, folder)
        cluster = await stack.enter_async_context(running_control_plane(programs, folder, entry))
        flags = [f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false", f"--secure-port={free_port()}"]
        await stack.enter_async_context(_process(folder, "kube-scheduler", str(programs / "kube-scheduler"), *flags))
        kubelet = kubelet or (
            str(programs / "kubelet"),
            f"--config={kubelet_configuration(folder, runtime_socket)}",
            f"--kubeconfig={cluster.kubeconfig}",
            f"--hostname-override={NODE}",
            f"--node-ip={node_address}",
            f"--root-dir={cluster.kubelet_folder}",
        )
        await stack.enter_async_context(_process(folder, "kubelet", *kubelet))
        await cluster.until("True", "get", "node", NODE, "-o", _READY, seconds=START_SECONDS)
        yield cluster


@asynccontextmanager
async def running_control_plane(programs: Path, folder: Path, entry: Entry | None = None) -> AsyncGenerator[Cluster]:
    """An API server with etcd and the controllers, and no node: what is said of objects, by whoever keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    entry = entry or Entry(free_port(), secrets.token_hex(16))
    etcd, peer, api, token = free_port(), free_port(), entry.port, secrets.token_hex(16)
    (folder / "tokens.csv").write_text(
        f'{token},admin,admin,"system:masters"\n{entry.token},system:node:{NODE},node,"system:nodes"\n'
    )
    kubeconfig = _kubeconfig(folder / "admin.kubeconfig", api, token)
    await _run("openssl", "genrsa", "-out", str(folder / "sa.key"), "2048")
    await _run("openssl", "rsa", "-in", str(folder / "sa.key"), "-pubout", "-out", str(folder / "sa.pub"))
    cluster = Cluster(kubeconfig, folder / "kubelet", folder)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_etcd(folder, etcd, peer))
        await stack.enter_async_context(_api_server(programs, folder, api, etcd))
        await cluster.until("ok", "get", "--raw", "/readyz", seconds=START_SECONDS)
        flags = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", f"--secure-port={free_port()}"]
        flags.append(f"--service-account-private-key-file={folder}/sa.key")
        program = str(programs / "kube-controller-manager")
        await stack.enter_async_context(_process(folder, "kube-controller-manager", program, *flags))
        await cluster.until("default", "get", "serviceaccounts", seconds=START_SECONDS)
        yield cluster


_READY = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"


@asynccontextmanager
async def _etcd(folder: Path, port: int, peer: int) -> AsyncGenerator[None]:
    client, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    flags = [
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
    ]
    async with _process(folder, "etcd", "etcd", *flags):
        yield


@asynccontextmanager
async def _api_server(programs: Path, folder: Path, port: int, etcd: int) -> AsyncGenerator[None]:
    flags = [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder}/api",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={folder}/sa.key",
        f"--service-account-key-file={folder}/sa.pub",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--endpoint-reconciler-type=none",
        "--kubelet-preferred-address-types=InternalIP",
    ]
    async with _process(folder, "kube-apiserver", str(programs / "kube-apiserver"), *flags):
        yield


@asynccontextmanager
async def _process(folder: Path, name: str, *argv: str) -> AsyncGenerator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL)
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(15):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _unmount_below(folder: Path) -> None:
    """Take off the volumes that a kubelet leaves when it ends."""
    points = [line.split(" ")[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in sorted((one for one in points if one.startswith(f"{folder}/")), reverse=True):
        await _run("umount", "--lazy", point)


async def _run(*argv: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0, argv


def _kubeconfig(path: Path, port: int, token: str) -> Path:
    server = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    path.write_text(json.dumps(config))
    return path


def kubelet_configuration(folder: Path, runtime_socket: Path) -> Path:
    """The configuration of a kubelet for this machine, whatever its control groups, in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{runtime_socket}",
        "port": free_port(),
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "failSwapOn": False,
        "serializeImagePulls": False,
        "evictionHard": {"memory.available": "10Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "podLogsDir": f"{folder}/pod-logs",
        "volumePluginDir": f"{folder}/plugins",
        "resolvConf": "/etc/resolv.conf",
        "syncFrequency": "5s",
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": "cluster.local",
    }
    path = folder / "kubelet.yaml"
    path.write_text(json.dumps(config))
    return path
