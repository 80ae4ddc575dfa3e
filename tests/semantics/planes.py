"""Two control planes with one face: Kubernetes' own, and ours. The test tells how pods are, as a kubelet would."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from cellwire.faults import Fault, Kind
from controller.api.all_kinds import WORKLOADS
from controller.objects import library
from controller.objects.admission import How
from controller.objects.kinds import STORED
from controller.objects.library import Library
from controller.objects.sealing import Sealing
from controller.objects.stored import Ending
from controller.pods.kind import PODS
from controller.workloads import room as workloads
from tests.support.cluster import running_control_plane
from tests.support.memory_store import MemoryStore

Json = dict[str, Any]
PLACES = {
    "configmaps": "/api/v1",
    "pods": "/api/v1",
    "deployments.apps": "/apis/apps/v1",
    "replicasets.apps": "/apis/apps/v1",
    "statefulsets.apps": "/apis/apps/v1",
    "controllerrevisions.apps": "/apis/apps/v1",
    "jobs.batch": "/apis/batch/v1",
    "cronjobs.batch": "/apis/batch/v1",
}


class Plane(Protocol):
    """What scenarios do."""

    async def list(self, key: str) -> list[Json]: ...

    async def create(self, key: str, one: Json) -> None: ...

    async def change(self, key: str, name: str, change: Callable[[Json], Json]) -> None:
        """Change the spec of an object."""
        ...

    async def delete(self, key: str, name: str, policy: str = "Background") -> None: ...

    async def tell(self, pod: str, status: Json) -> None:
        """As a kubelet: this is how a pod is."""
        ...


class Ours:
    """The library and the workloads room, with pods that nobody runs."""

    def __init__(self, held: Library) -> None:
        self._library = held
        self._resources = {one.key: one for one in held.resources}

    async def list(self, key: str) -> list[Json]:
        return self._library.objects(key).list("default")

    async def create(self, key: str, one: Json) -> None:
        await self._library.create(self._resources[key], "default", one, How(manager="test", warnings=[]))

    async def change(self, key: str, name: str, change: Callable[[Json], Json]) -> None:
        await self._library.change(self._resources[key], "default", name, change, How(manager="test", warnings=[]))

    async def delete(self, key: str, name: str, policy: str = "Background") -> None:
        how, ending = How(manager="test", warnings=[]), Ending(policy=policy)
        await self._library.delete(self._resources[key], "default", name, ending, how)

    async def tell(self, pod: str, status: Json) -> None:
        try:
            await self._library.keeper(PODS).change("default", pod, lambda one: {**one, "status": status})
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise


class _Silent:
    def normal(self, pod: Json, reason: str, message: str, container: str = "") -> None: ...

    def warning(self, pod: Json, reason: str, message: str, container: str = "") -> None: ...


@asynccontextmanager
async def ours(_: Path) -> AsyncGenerator[Plane]:
    kinds = (*STORED, *WORKLOADS, PODS)
    async with library.running(MemoryStore(), Sealing(bytes(32)), kinds, time.time) as held:
        async with workloads.running(held, _Silent()):
            yield Ours(held)


class Theirs:
    """A kube-apiserver and its controllers."""

    def __init__(self, client: aiohttp.ClientSession, server: str) -> None:
        self._client = client
        self._server = server

    def _url(self, key: str, name: str = "", part: str = "") -> str:
        resource = key.partition(".")[0]
        path = f"{self._server}{PLACES[key]}/namespaces/default/{resource}"
        return "/".join([path, *filter(None, (name, part))])

    async def _do(self, method: str, url: str, body: Json | None = None) -> Json:
        async with self._client.request(method, url, json=body) as answer:
            told = await answer.json()
            assert answer.status < 300 or answer.status in {404, 409}, told
            return {**told, "http": answer.status}

    async def list(self, key: str) -> list[Json]:
        return (await self._do("GET", self._url(key)))["items"]

    async def create(self, key: str, one: Json) -> None:
        assert (await self._do("POST", self._url(key), one))["http"] < 300

    async def change(self, key: str, name: str, change: Callable[[Json], Json]) -> None:
        while True:
            before = await self._do("GET", self._url(key, name))
            before.pop("http")
            if (await self._do("PUT", self._url(key, name), change(before)))["http"] != 409:
                return

    async def delete(self, key: str, name: str, policy: str = "Background") -> None:
        await self._do("DELETE", self._url(key, name), {"propagationPolicy": policy})

    async def tell(self, pod: str, status: Json) -> None:
        while True:
            before = await self._do("GET", self._url("pods", pod))
            if before.pop("http") == 404:
                return
            if (await self._do("PUT", self._url("pods", pod, "status"), {**before, "status": status}))["http"] != 409:
                return


@asynccontextmanager
async def theirs(programs: Path, folder: Path) -> AsyncGenerator[Plane]:
    async with running_control_plane(programs, folder) as cluster:
        config = json.loads(cluster.kubeconfig.read_text())
        anything = ssl.create_default_context()
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        connector = aiohttp.TCPConnector(ssl=anything)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as client:
            plane = Theirs(client, config["clusters"][0]["cluster"]["server"])
            yield plane
