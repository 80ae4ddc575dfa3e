"""Big lists: 10,000 objects in the store and 1,000 pods that are listed, watched and changed; beside Kubernetes' own.

One after the other on this machine: kube-apiserver and etcd (from KUBE_BIN), and our controller with its store. One
client asks both, by JSON, and kubectl as people do. No pod runs: there Kubernetes has no node, here they wait for a
volume. The ratio is our time over theirs for all that is read (lists, kubectl, watches), memory is told beside it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.cluster import binaries, running_control_plane
from tests.support.controller import running_controller

OBJECTS = int(os.environ.get("BENCH_OBJECTS", "10000"))
PODS = int(os.environ.get("BENCH_PODS", "1000"))
AT_ONCE, WATCHERS, TIMES = 16, 5, 3
SPACE = "/api/v1/namespaces/default"
FOLLOWED = "kubectl get -w, changes"
READ = ("list objects", "list pods", "kubectl get objects", "kubectl get pods", "watch pods", FOLLOWED)


@dataclass
class Plane:
    """An API with its kubeconfig, and which processes are its own, by name and a word of their command."""

    name: str
    kubeconfig: Path
    own: Sequence[tuple[str, str]]
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    mib: dict[str, float] = field(default_factory=dict[str, float])


@asynccontextmanager
async def asking(kubeconfig: Path) -> AsyncGenerator[tuple[aiohttp.ClientSession, str]]:
    """A client of an API, and its address."""
    config = yaml.safe_load(kubeconfig.read_text())
    user = config["users"][0]["user"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if "client-certificate-data" in user:
        both = kubeconfig.with_name("client.pem")
        both.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
        context.load_cert_chain(both)
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as client:
        yield client, config["clusters"][0]["cluster"]["server"]


def config_map(number: int) -> dict[str, Any]:
    return {"metadata": {"name": f"object-{number:05}", "labels": {"n": str(number % 10)}}, "data": {"k": "x" * 1000}}


def pod(number: int) -> dict[str, Any]:
    containers = [{"name": "main", "image": "registry.demo/web:1", "env": [{"name": "A", "value": "b"}]}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "nobody-has-it"}}]
    return {
        "metadata": {"name": f"pod-{number:05}", "labels": {"app": "bench"}},
        "spec": {"containers": containers, "volumes": volumes},
    }


async def each(numbers: range, one: Callable[[int], Awaitable[None]]) -> None:
    """Do something for each number, a few at once."""
    left = iter(numbers)

    async def some() -> None:
        for number in left:
            await one(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(some())


async def measure(plane: Plane) -> None:
    """All of it, against one API."""
    async with asking(plane.kubeconfig) as (client, server):

        async def timed(what: str, work: Callable[[], Awaitable[None]], times: int = 1) -> None:
            taken: list[float] = []
            for _ in range(times):
                began = time.perf_counter()
                await work()
                taken.append(time.perf_counter() - began)
            plane.seconds[what] = statistics.median(taken)
            print(f"{plane.name:12}{what:27}{plane.seconds[what]:9.2f} s", flush=True)

        async def create(kind: str, made: dict[str, Any]) -> None:
            async with client.post(f"{server}{SPACE}/{kind}", json=made) as answer:
                assert answer.status == 201, await answer.text()

        async def listed(kind: str, number: int) -> None:
            async with client.get(f"{server}{SPACE}/{kind}") as answer:
                assert len((await answer.json())["items"]) >= number

        async def kubectl(*words: str) -> None:
            argv = ["kubectl", f"--kubeconfig={plane.kubeconfig}", *words]
            process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)
            assert await process.wait() == 0

        await timed("create objects", lambda: each(range(OBJECTS), lambda n: create("configmaps", config_map(n))))
        await timed("create pods", lambda: each(range(PODS), lambda n: create("pods", pod(n))))
        await timed("list objects", lambda: listed("configmaps", OBJECTS), TIMES)
        await timed("list pods", lambda: listed("pods", PODS), TIMES)
        await timed("kubectl get objects", lambda: kubectl("get", "configmaps"), TIMES)
        await timed("kubectl get pods", lambda: kubectl("get", "pods"), TIMES)
        await timed("watch pods", lambda: watched(client, server))
        async with following(plane.kubeconfig) as rows:
            await timed("kubectl get -w, all there", lambda: seen(rows, PODS))
            await timed(FOLLOWED, lambda: followed(client, server, rows))
    plane.mib = {name: resident(word) for name, word in plane.own}


async def watched(client: aiohttp.ClientSession, server: str) -> None:
    """Watch all pods by some watchers, and change each pod: until every watcher has seen every change."""
    async with client.get(f"{server}{SPACE}/pods?limit=1") as answer:
        version = (await answer.json())["metadata"]["resourceVersion"]
    mark = f"m{time.time_ns()}"

    async def watch(there: asyncio.Event) -> None:
        query = f"watch=1&resourceVersion={version}&labelSelector=app=bench&timeoutSeconds=600"
        seen: set[str] = set()
        async with client.get(f"{server}{SPACE}/pods?{query}", timeout=aiohttp.ClientTimeout(total=None)) as answer:
            there.set()
            while len(seen) < PODS:
                told = json.loads(await answer.content.readuntil(b"\n"))["object"]["metadata"]
                if told["labels"].get("mark") == mark:
                    seen.add(told["name"])

    async with asyncio.TaskGroup() as tasks:
        ready = [asyncio.Event() for _ in range(WATCHERS)]
        for there in ready:
            tasks.create_task(watch(there))
        for there in ready:
            await there.wait()
        await each(range(PODS), lambda number: marked(client, server, number, mark))


async def marked(client: aiohttp.ClientSession, server: str, number: int, mark: str) -> None:
    """Change a pod."""
    kind = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"labels": {"mark": mark}}})
    async with client.patch(f"{server}{SPACE}/pods/pod-{number:05}", data=body, headers=kind) as answer:
        assert answer.status == 200, await answer.text()


@asynccontextmanager
async def following(kubeconfig: Path) -> AsyncGenerator[asyncio.StreamReader]:
    """What `kubectl get -w` of all pods prints."""
    argv = ["kubectl", f"--kubeconfig={kubeconfig}", "get", "pods", "-w", "--no-headers"]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def seen(rows: asyncio.StreamReader, number: int) -> None:
    """Read so many rows, of as many pods."""
    names = {(await rows.readline()).split()[0] for _ in range(number)}
    assert len(names) == number


async def followed(client: aiohttp.ClientSession, server: str, rows: asyncio.StreamReader) -> None:
    """Change each pod once, until kubectl has shown every change."""
    mark = f"m{time.time_ns()}"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(seen(rows, PODS))
        await each(range(PODS), lambda number: marked(client, server, number, mark))


def resident(word: str) -> float:
    """MiB of memory of the processes whose command has this word."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in command:
                total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        except OSError:
            continue
    return total / (1 << 20)


async def compared(folder: Path) -> tuple[Plane, Plane | None]:
    """Kubernetes' own, where its programs are there, and ours."""
    theirs = None
    if (programs := binaries()) is not None:
        async with running_control_plane(programs, folder / "theirs") as cluster:
            own = (("kube-apiserver", f"{folder}/theirs/api"), ("etcd", f"{folder}/theirs/etcd"))
            theirs = Plane("kubernetes", cluster.kubeconfig, own)
            await measure(theirs)
    (folder / "ours").mkdir()
    async with running_controller(folder / "ours") as controller:
        ours = Plane("chinampa", controller.kubeconfig, (("controller", f"{folder}/ours/controller.toml"),))
        await measure(ours)
    return ours, theirs


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="chinampa-lists-", dir="/tmp") as folder:
        ours, theirs = asyncio.run(compared(Path(folder)))
    for plane in (ours, *([theirs] if theirs else [])):
        told = ", ".join(f"{name} {amount:.0f} MiB" for name, amount in plane.mib.items())
        print(f"{plane.name}: {told}")
    if theirs is None:
        sys.exit("NOT RUN beside Kubernetes' own: KUBE_BIN has no control plane")
    for what, seconds in ours.seconds.items():
        print(f"{what:27}{seconds / theirs.seconds[what]:9.2f} of theirs")
    print(f"ratio: {sum(ours.seconds[one] for one in READ) / sum(theirs.seconds[one] for one in READ):.2f}")


if __name__ == "__main__":
    main()
