"""What it costs a Kubernetes control plane that so many nodes say that they live: `bench.scale`'s peer.

A real API server with a real etcd; for each node its Lease is renewed each 10 s as a kubelet does it: a PUT of the
object with the resource version that the last answer had. What else a kubelet says is left out, in their favour, and
all share a few connections.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support import cluster

RENEW_SECONDS = 10.0
CONNECTIONS = 50
SPACE = "kube-node-lease"
PATH = f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases"
Json = dict[str, Any]


async def share(nodes: int, seconds: float) -> float | None:
    """Share of a core that API server and etcd use while so many nodes live; None without KUBE_BIN."""
    programs = cluster.binaries()
    if programs is None:
        return None
    with tempfile.TemporaryDirectory(prefix="bench-leases-") as folder:
        async with cluster.running_control_plane(programs, Path(folder)) as control:
            async with _client(control.kubeconfig) as client:
                return await _measure(client, nodes, seconds, folder)


def _client(kubeconfig: Path) -> aiohttp.ClientSession:
    known = yaml.safe_load(kubeconfig.read_text())
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return aiohttp.ClientSession(
        known["clusters"][0]["cluster"]["server"],
        headers={"Authorization": f"Bearer {known['users'][0]['user']['token']}"},
        connector=aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS),
    )


async def _measure(client: aiohttp.ClientSession, nodes: int, seconds: float, folder: str) -> float:
    space = {"metadata": {"name": SPACE}}
    async with client.post("/api/v1/namespaces", json=space) as answer:
        assert answer.status in {201, 409}, await answer.text()
    async with asyncio.TaskGroup() as tasks:
        living = [tasks.create_task(_live(client, number, nodes)) for number in range(nodes)]
        await asyncio.sleep(2 * RENEW_SECONDS)
        before = _cpu(folder)
        await asyncio.sleep(seconds)
        used = _cpu(folder) - before
        for one in living:
            one.cancel()
    return used / seconds


async def _live(client: aiohttp.ClientSession, number: int, nodes: int) -> None:
    """One node's renewals, spread evenly over the interval."""
    await asyncio.sleep(RENEW_SECONDS * number / nodes)
    due = asyncio.get_running_loop().time()
    name = f"node-{number}"
    lease: Json = {
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40},
    }
    method, path = "POST", PATH
    while True:
        lease["spec"]["renewTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        async with client.request(method, path, json=lease) as answer:
            assert answer.status < 300, await answer.text()
            lease = await answer.json()
        method, path = "PUT", f"{PATH}/{name}"
        due += RENEW_SECONDS
        await asyncio.sleep(due - asyncio.get_running_loop().time())


def _cpu(folder: str) -> float:
    """CPU seconds so far of the API server and etcd whose command lines name the folder."""
    ticks = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        program = Path(os.fsdecode(words[0])).name
        if program in {"kube-apiserver", "etcd"} and any(folder.encode() in word for word in words):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
