"""A real cluster whose node is the shim with local cells: Services, names, requests, events, as ordinary workloads use
them. Runs where KUBE_BIN names a folder with the Kubernetes binaries, and says loudly when it does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import cast

import pytest

from hostkit import programs
from tests.support.agent import lone_agent
from tests.support.cluster import (
    CLUSTER_DNS,
    Cluster,
    NodeAccess,
    StartProgress,
    binaries,
    control_group,
    free_port,
    kubelet_configuration,
    running_cluster,
)
from tests.support.controller import ROOT, Controller, running_controller
from tests.support.registry import running_registry

PROGRAMS = binaries()
IMAGE = "registry.demo/web:1"
# What the worker offers, and this machine does not have.
CPUS, MEMORY = 320, 2000
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None or os.geteuid() != 0, reason="KUBE_BIN names no Kubernetes binaries"),
    pytest.mark.timeout(1500),
]
GONE = re.compile(r"refused|timed out|unreachable|exit code 1")


def deployment(name: str, replicas: int) -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: {IMAGE}
        command: [sh, -c, "mkdir /tmp/w; hostname > /tmp/w/index.html; touch /tmp/ok; exec httpd -f -p 8080 -h /tmp/w"]
        resources: {{requests: {{cpu: 50m, memory: 16Mi}}}}
        readinessProbe: {{exec: {{command: [cat, /tmp/ok]}}, periodSeconds: 1, timeoutSeconds: 10}}
"""


def service(name: str, address: str = "") -> str:
    fixed = f"clusterIP: {address}, " if address else ""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{{fixed}selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""


def client(name: str, memory: str = "16Mi", cpu: str = "50m") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {IMAGE}
    command: [sh, -c, "sleep 3600"]
    resources: {{requests: {{cpu: {cpu}, memory: {memory}}}}}
"""


def names_of_the_cluster(where: str, port: int) -> str:
    """kube-dns as a Service, behind which a name server of the test answers."""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system}}
spec:
  clusterIP: {CLUSTER_DNS}
  ports: [{{name: dns, port: 53, protocol: UDP, targetPort: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: kube-dns-1, namespace: kube-system, labels: {{kubernetes.io/service-name: kube-dns}}}}
addressType: IPv4
ports: [{{name: dns, port: {port}, protocol: UDP}}]
endpoints: [{{addresses: [{where}], conditions: {{ready: true}}}}]
"""


class _Names(asyncio.DatagramProtocol):
    """A name server that knows a few names, as the cluster's own would; it counts questions by name."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += data[at] + 1
        question, type_ = data[12 : at + 5], int.from_bytes(data[at + 1 : at + 3], "big")
        name = ".".join(labels).lower()
        found = self._known.get(name)
        said = b""
        if found and type_ == 1:
            said = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04" + ip_address(found).packed
        code = 0 if found else 3
        head = data[:2] + bytes([0x85, 0x80 | code]) + b"\0\x01\0" + bytes([bool(said)]) + bytes(4)
        self._transport.sendto(head + question + said, addr)


@asynccontextmanager
async def name_server(where: str, port: int, known: Mapping[str, str]) -> AsyncGenerator[None]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Names(known), local_addr=(where, port)
    )
    try:
        yield
    finally:
        transport.close()


@asynccontextmanager
async def neighbours(folder: Path, shim: str = "", cloud: str = "") -> AsyncGenerator[tuple[Controller, Cluster, str]]:
    """A controller with its shim, and the cluster whose worker is this machine, as `chinampa worker init` makes it.

    `shim` and `cloud` are more of their settings.
    """
    assert PROGRAMS is not None
    entry = NodeAccess(free_port(), secrets.token_hex(16))
    kubeconfig = entry.kubeconfig(folder / "node.kubeconfig")
    own_folder = folder / "cluster"
    groups = f"chinampa-test-{secrets.token_hex(3)}"
    base = kubelet_configuration(own_folder, folder / "s", f"/{groups}")
    more = (
        f'[shim]\nsocket = "{folder}/s"\npods_folder = "{own_folder}/kubelet/pods"\n{shim}'
        f'[kubernetes]\nkubeconfig = "{kubeconfig}"\nnode = "test-node"\n'
        f'[worker]\nkubelet = "{PROGRAMS}/kubelet"\nroot = "{own_folder}/kubelet"\nbase = "{base}"\n'
        f'cpu = {CPUS}\nmemory_gib = {MEMORY}\ndns = ["{CLUSTER_DNS}"]\n'
    )
    with control_group(groups):
        async with running_controller(folder, cloud + more) as own:
            gateway = own.cloud.subnet.replace(".0/24", ".1")
            async with installed(own, folder / "worker") as start:
                kubelet = (*start, f"--node-ip={gateway}")
                async with running_cluster(
                    PROGRAMS, own_folder, folder / "s", gateway, entry=entry, kubelet=kubelet
                ) as cluster:
                    rights = (ROOT / "docs" / "cluster.md").read_text().split("```yaml\n")[1].split("```")[0]
                    await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=rights)
                    await cluster.until("default", "get", "serviceaccounts", "-o", "name")
                    yield own, cluster, gateway


@asynccontextmanager
async def installed(own: Controller, folder: Path) -> AsyncGenerator[tuple[str, ...]]:
    """What `chinampa worker init` writes, in its place in this process' table of mounts; how the kubelet is started."""
    config = str(own.folder / "controller.toml")
    await own.run("worker", "init", "--config", config, "--to", str(folder))
    unit = (folder / "etc/systemd/system/chinampa-kubelet.service").read_text()
    layers = {name: folder / f"layer-{name}" for name in ("upper", "work")}
    for layer in layers.values():
        layer.mkdir()
    where = f"lowerdir=/etc,upperdir={layers['upper']},workdir={layers['work']}"
    # As systemd has it: a kubelet's volumes are seen by all.
    await programs.check(["mount", "--make-rshared", "/"])
    try:
        # Not this machine's own /etc, where others who do the same would meet.
        await programs.check(["mount", "-t", "overlay", "overlay", "-o", where, "/etc"])
        try:
            Path("/etc/chinampa").mkdir(exist_ok=True)
            await programs.check(["mount", "--bind", str(folder / "etc/chinampa"), "/etc/chinampa"])
            yield tuple(unit.split("ExecStart=")[1].splitlines()[0].split())
        finally:
            await programs.check(["umount", "--lazy", "--recursive", "/etc"])
    finally:
        await programs.check(["mount", "--make-rprivate", "/"])


async def page(cluster: Cluster, pod: str, where: str, namespace: str = "default") -> str:
    """What a pod gets from a web server; why not, where it gets nothing."""
    ask = f"(printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'; sleep 2) | nc -w 3 {where} 80"
    _, said, errors = await cluster.kubectl_raw("exec", "-n", namespace, pod, "--", "sh", "-c", ask)
    return said.rpartition("\r\n\r\n")[2].strip() if said else errors


async def until_page(
    cluster: Cluster, pod: str, where: str, wanted: re.Pattern[str], namespace: str = "default"
) -> None:
    progress = StartProgress(cluster)
    while not wanted.search(said := await page(cluster, pod, where, namespace)):
        progress.check(f"{where} to answer {pod} with {wanted.pattern}", said)
        await asyncio.sleep(0.3)


async def test_services_and_names_reach_pods_in_cells(tmp_path: Path) -> None:
    address = "10.96.0.77"
    port = free_port()
    known = {"web.default.svc.cluster.local": address}
    async with neighbours(tmp_path) as (_, cluster, gateway), name_server(gateway, port, known):
        web = re.compile(r"^web-\w+-\w+$")
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=names_of_the_cluster(gateway, port))
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=deployment("web", 2))
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=service("web", address))
        await cluster.kubectl("create", "namespace", "other")
        await cluster.until("default", "get", "serviceaccounts", "-n", "other", "-o", "name")
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=client("here"))
        await cluster.kubectl("apply", "--validate=false", "-n", "other", "-f", "-", stdin=client("there"))
        await cluster.rolled_out("deployment/web")
        await cluster.ready("pod/here")
        await cluster.ready("pod/there", "-n", "other")

        await until_page(cluster, "here", address, web)
        asked = await cluster.kubectl("exec", "here", "--", "busybox", "nslookup", "web.default.svc.cluster.local")
        assert address in asked
        # Another namespace's Service is held from the moment that it is dialled, or its name asked for.
        await until_page(cluster, "there", address, web, "other")
        asked = await cluster.kubectl(
            "exec", "-n", "other", "there", "--", "busybox", "nslookup", "web.default.svc.cluster.local"
        )
        assert address in asked

        (first, *_) = (await cluster.kubectl("get", "pods", "-l", "app=web", "-o", "name")).split()
        await cluster.kubectl("exec", first, "--", "rm", "/tmp/ok")
        await cluster.until("False", "get", first, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}")
        left = {await page(cluster, "here", address) for _ in range(5)}
        assert first.removeprefix("pod/") not in left

        await cluster.kubectl("scale", "deployment/web", "--replicas=0")
        await until_page(cluster, "here", address, GONE)


async def test_a_pod_is_sized_by_what_it_asks_for_and_its_events_tell_of_its_cell(tmp_path: Path) -> None:
    async with neighbours(tmp_path) as (own, cluster, _):
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=client("large", memory="700Mi"))
        await cluster.ready("pod/large")

        (cell,) = await own.cells()
        assert cell["type"] not in {"local.nano", "local.micro"}, cell
        events = json.loads(await cluster.kubectl("get", "events", "-o", "json"))["items"]
        told = {one["reason"]: one["message"] for one in events if one["source"].get("component") == "chinampa"}
        assert "USD" in told["Launched"], told
        assert "MiB" in told["Launching"], told


async def test_a_pod_that_is_resized_is_so_in_its_cell_and_the_kubelet_goes_on(tmp_path: Path) -> None:
    async with neighbours(tmp_path) as (_, cluster, _gateway):
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=client("resized"))
        await cluster.ready("pod/resized")
        wanted = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "20m"}}}]}}
        await cluster.kubectl("patch", "pod", "resized", "--subresource=resize", "-p", json.dumps(wanted))
        await cluster.until("20m", "get", "pod", "resized", "-o", "jsonpath={.status.containerStatuses[0].resources}")
        assert (await cluster.kubectl("exec", "resized", "--", "echo", "there")).strip() == "there"


async def test_a_worker_offers_what_its_settings_say_and_is_checked(tmp_path: Path) -> None:
    async with neighbours(tmp_path) as (own, cluster, _):
        node = json.loads(await cluster.kubectl("get", "node", "test-node", "-o", "json"))
        assert node["status"]["capacity"]["cpu"] == str(CPUS)
        assert node["status"]["capacity"]["memory"] == f"{MEMORY}Gi"
        assert node["status"]["capacity"]["pods"] == "500"
        assert node["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] == "true"
        config = str(own.folder / "controller.toml")
        said = await own.run("worker", "check", "--config", config, ends=1)
        lacking = [line[6:].split()[0] for line in said.splitlines() if line.startswith("lacks")]
        # The units are systemd's to have, which this test has not.
        assert lacking == ["files"], said
        # More than this machine has is scheduled, and asked of the cloud. This machine's own cloud has no more either.
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=client("large", cpu=str(CPUS - 1)))
        await cluster.until("Launching", "get", "events", "-o", "jsonpath={.items[*].reason}")
        told = await cluster.kubectl("get", "events", "-o", "jsonpath={.items[*].message}")
        assert f"for {CPUS - 1}000 thousandths of a CPU" in told
        await cluster.gone("pod", "large")
        # The kubelet's own mounts reach the controller, and by it the cell.
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=client("small"))
        await cluster.ready("pod/small")
        secret = await cluster.kubectl("exec", "small", "--", "ls", "/var/run/secrets/kubernetes.io/serviceaccount")
        assert "token" in secret


DAEMONS = f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: each}}
spec:
  selector: {{matchLabels: {{app: each}}}}
  template:
    metadata: {{labels: {{app: each}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: {IMAGE}
        command: [sh, -c, "echo here; mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"]
        resources: {{requests: {{cpu: 10m, memory: 16Mi}}}}
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"""


async def test_a_daemon_sets_pod_runs_on_the_worker_beside_pods_in_cells(tmp_path: Path) -> None:
    address, port, name = "10.96.0.78", free_port(), "each.default.svc.cluster.local"
    async with (
        running_registry() as registry,
        lone_agent(tmp_path / "own", registry) as (socket, _, network),
        neighbours(tmp_path, f'worker = "{socket}"\n', f'routes = ["{network}"]\n') as (own, cluster, gateway),
        name_server(gateway, port, {name: address}),
    ):
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=names_of_the_cluster(gateway, port))
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=DAEMONS)
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=service("each", address))
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=client("here"))
        await cluster.rolled_out("daemonset/each")
        await cluster.ready("pod/here")
        assert len(await own.cells()) == 1

        (pod,) = (await cluster.kubectl("get", "pods", "-l", "app=each", "-o", "name")).split()
        there = await cluster.kubectl("get", pod, "-o", "jsonpath={.status.podIP}")
        assert ip_address(there) in ip_network(network)
        assert await cluster.kubectl("logs", pod) == "here\n"
        assert (await cluster.kubectl("exec", pod, "--", "hostname")).strip() == pod.removeprefix("pod/")
        assert (await cluster.kubectl("exec", "here", "--", "hostname")).strip() == "here"
        await until_page(cluster, "here", address, re.compile(rf"^{pod.removeprefix('pod/')}$"))
        assert address in await cluster.kubectl("exec", "here", "--", "busybox", "nslookup", name)

        summary = json.loads(await cluster.kubectl("get", "--raw", "/api/v1/nodes/test-node/proxy/stats/summary"))
        assert {"here", pod.removeprefix("pod/")} <= {one["podRef"]["name"] for one in summary["pods"]}
        await cluster.gone("daemonset", "each")
        await cluster.gone(pod)
        assert (await cluster.kubectl("get", "pod", "here", "-o", "jsonpath={.status.phase}")) == "Running"
