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
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
NODE = "test-node"
CLUSTER_DNS = "10.96.0.10"
# Without a word from any program for so long, what is waited for does not come. However slow the machine is, whoever
# works on it says something.
STILL_SECONDS = 180.0
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Program:
    """A program of a cluster, and where its words go."""

    name: str
    argv: tuple[str, ...]
    process: asyncio.subprocess.Process
    log: Path

    def words(self) -> str:
        """The end of what it has said."""
        return f"{self.name}:\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: `kubeconfig` is its administrator's, `kubelet_folder` the kubelet's root."""

    kubeconfig: Path
    kubelet_folder: Path
    folder: Path
    programs: list[Program] = field(default_factory=list["Program"])

    async def kubectl(self, *arguments: str, stdin: str = "", seconds: float = STILL_SECONDS) -> str:
        """Run kubectl; what it printed. Raises AssertionError with its words where it failed."""
        status, stdout, stderr = await self.kubectl_raw(*arguments, stdin=stdin, seconds=seconds)
        assert status == 0, f"kubectl {' '.join(arguments)}: {status}: {stderr or stdout}"
        return stdout

    async def kubectl_raw(
        self, *arguments: str, stdin: str = "", seconds: float = STILL_SECONDS
    ) -> tuple[int, str, str]:
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

    async def until(self, wanted: str, *arguments: str) -> str:
        """Repeat kubectl until its output contains `wanted`; the output. Raises AssertionError where a program of the
        cluster has ended, or nothing moves any more.
        """
        progress = StartProgress(self)
        while True:
            _, output, errors = await self.kubectl_raw(*arguments)
            if wanted in output:
                return output
            progress.check(f"kubectl {' '.join(arguments)} to say {wanted!r}", output or errors)
            await asyncio.sleep(PAUSE_SECONDS)

    async def ready(self, pod: str, *more: str) -> None:
        """Wait until a pod ("pod/web") or a node is ready."""
        await self.until("True", "get", pod, "-o", _READY, *more)

    async def rolled_out(self, workload: str) -> None:
        """Wait until a workload ("deployment/web") has all that it wants."""
        await self.until("successfully rolled out", "rollout", "status", workload, "--watch=false")

    async def gone(self, *what: str) -> None:
        """Delete what kubectl's arguments name, and wait until it is gone."""
        await self.kubectl("delete", *what, "--wait=false", "--ignore-not-found")
        listed = [one for one in what if one != "--all"]
        progress = StartProgress(self)
        while output := (await self.kubectl("get", *listed, "-o", "name", "--ignore-not-found")).strip():
            progress.check(f"{' '.join(what)} to be gone", output)
            await asyncio.sleep(PAUSE_SECONDS)

    async def restart(self, name: str) -> None:
        """End a program, and start it again as it was."""
        index = next(index for index, one in enumerate(self.programs) if one.name == name)
        one = self.programs[index]
        await _stopped(one)
        self.programs[index] = await _started(name, one.argv, one.log)


class StartProgress:
    """Whether it makes sense to wait any longer: while all programs run, and any of them, or the answer, says something
    new.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: tuple[str, list[int]] = "", []
        self._since = time.monotonic()

    def check(self, wanted: str, answer: str) -> None:
        """Raises AssertionError with the last words of who has ended, or of all where all are still."""
        programs = self._cluster.programs
        for one in programs:
            assert one.process.returncode is None, f"waiting for {wanted}, and {one.words()}"
        seen = answer, [one.log.stat().st_size for one in programs]
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        if now - self._since > STILL_SECONDS:
            words = "\n".join(one.words() for one in programs)
            raise AssertionError(f"waited for {wanted}; the last answer: {answer}\n{words}")


@dataclass(frozen=True, slots=True)
class NodeAccess:
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
    entry: NodeAccess | None = None,
    kubelet: Sequence[str] = (),
) -> AsyncGenerator[Cluster]:
    """Start everything, wait until the node is Ready, stop everything. `node_address` must not be loopback; `kubelet`
    is the command of one that is set up otherwise.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_unmount_below, folder)
        cluster = await stack.enter_async_context(running_control_plane(programs, folder, entry))
        flags = [f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false", f"--secure-port={free_port()}"]
        program = str(programs / "kube-scheduler")
        await stack.enter_async_context(_process(cluster, "kube-scheduler", program, *flags))
        kubelet = kubelet or (
            str(programs / "kubelet"),
            f"--config={kubelet_configuration(folder, runtime_socket)}",
            f"--kubeconfig={cluster.kubeconfig}",
            f"--hostname-override={NODE}",
            f"--node-ip={node_address}",
            f"--root-dir={cluster.kubelet_folder}",
        )
        await stack.enter_async_context(_process(cluster, "kubelet", *kubelet))
        await cluster.ready(f"node/{NODE}")
        yield cluster


@asynccontextmanager
async def running_control_plane(
    programs: Path, folder: Path, entry: NodeAccess | None = None
) -> AsyncGenerator[Cluster]:
    """An API server with etcd and the controllers, and no node: what is said of objects, by whoever keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    entry = entry or NodeAccess(free_port(), secrets.token_hex(16))
    etcd, peer, api, token = free_port(), free_port(), entry.port, secrets.token_hex(16)
    (folder / "tokens.csv").write_text(
        f'{token},admin,admin,"system:masters"\n{entry.token},system:node:{NODE},node,"system:nodes"\n'
    )
    kubeconfig = _kubeconfig(folder / "admin.kubeconfig", api, token)
    await _run("openssl", "genrsa", "-out", str(folder / "sa.key"), "2048")
    await _run("openssl", "rsa", "-in", str(folder / "sa.key"), "-pubout", "-out", str(folder / "sa.pub"))
    cluster = Cluster(kubeconfig, folder / "kubelet", folder)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_etcd(cluster, etcd, peer))
        await stack.enter_async_context(_api_server(programs, cluster, api, etcd))
        await cluster.until("ok", "get", "--raw", "/readyz")
        flags = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", f"--secure-port={free_port()}"]
        flags.append(f"--service-account-private-key-file={folder}/sa.key")
        program = str(programs / "kube-controller-manager")
        await stack.enter_async_context(_process(cluster, "kube-controller-manager", program, *flags))
        await cluster.until("default", "get", "serviceaccounts")
        yield cluster


_READY = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"


@asynccontextmanager
async def _etcd(cluster: Cluster, port: int, peer: int) -> AsyncGenerator[None]:
    client, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    flags = [
        f"--data-dir={cluster.folder}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
    ]
    async with _process(cluster, "etcd", "etcd", *flags):
        yield


@asynccontextmanager
async def _api_server(programs: Path, cluster: Cluster, port: int, etcd: int) -> AsyncGenerator[None]:
    folder = cluster.folder
    flags = [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder}/api",
        "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={folder}/sa.key",
        f"--service-account-key-file={folder}/sa.pub",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--endpoint-reconciler-type=none",
        "--kubelet-preferred-address-types=InternalIP",
    ]
    async with _process(cluster, "kube-apiserver", str(programs / "kube-apiserver"), *flags):
        yield


@asynccontextmanager
async def _process(cluster: Cluster, name: str, *argv: str) -> AsyncGenerator[None]:
    cluster.programs.append(await _started(name, argv, cluster.folder / f"{name}.log"))
    try:
        yield
    finally:
        program = next(one for one in cluster.programs if one.name == name)
        cluster.programs.remove(program)
        await _stopped(program)


async def _started(name: str, argv: tuple[str, ...], path: Path) -> Program:
    with path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL)
    return Program(name, argv, process, path)


async def _stopped(program: Program) -> None:
    process = program.process
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


@contextmanager
def control_group(name: str) -> Generator[str]:
    """A control group of each hierarchy, below which a kubelet has those of its pods, apart from other kubelets."""
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    tops = [Path(where) / name for _, where, kind, *_ in mounted if kind in {"cgroup", "cgroup2"}]
    for top in tops:
        top.mkdir(exist_ok=True)
        for own in ("cpuset.cpus", "cpuset.mems"):
            # Version 1 gives a new group none.
            if (top.parent / own).exists() and not (top / own).read_text().strip():
                (top / own).write_text((top.parent / own).read_text())
    try:
        yield f"/{name}"
    finally:
        for top in tops:
            for path in sorted((top, *(one for one in top.rglob("*") if one.is_dir())), reverse=True):
                with suppress(OSError):  # a process of a pod whose test failed
                    path.rmdir()


def kubelet_configuration(folder: Path, runtime_socket: Path, cgroup_root: str = "") -> Path:
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
        "cgroupsPerQOS": bool(cgroup_root),
        "cgroupRoot": cgroup_root,
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
