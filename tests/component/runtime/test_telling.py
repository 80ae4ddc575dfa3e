"""What a kubelet asks of the agent beside lists and statuses: what it is, what it can, what its pods use."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents
from tests.support import cri_telling

WRITE = "head -c 1048576 /dev/urandom > /data; echo ready; while :; do :; done"


async def test_the_agent_introduces_itself(agent: Agents) -> None:
    async with agent() as client:
        told = await cri_telling.require_introduction(client.stub)
        settings = json.loads(told.info["config"])
        assert settings["runtime"]["name"] in {"runc", "crun"}
        assert settings["runtime"]["name"] in {one.name for one in told.runtime_handlers}
        assert told.features.mount_options


async def test_a_kubelet_finds_what_it_reads_of_containers_and_pods(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox(client.sandbox_config(labels={"app": "web"}))
        linux = cri.LinuxContainerConfig(resources=cri.LinuxContainerResources(memory_limit_in_bytes=64 << 20))
        container = await client.create(sandbox, "sh", "-c", WRITE, labels={"tier": "front"}, linux=linux)
        await client.start(container)
        async with asyncio.timeout(20):
            while "ready" not in await client.log(container):
                await asyncio.sleep(0.05)
        request = cri.ContainerStatsRequest(container_id=container)
        first = (await call(client.stub.ContainerStats, request, deadline=5)).stats
        root = first.writable_layer.fs_id.mountpoint
        await cri_telling.require_stats(client.stub, sandbox, container, root)
        await cri_telling.require_metrics(client.stub, sandbox, container)
        await cri_telling.require_honest_refusals(client.stub, sandbox)
        await asyncio.sleep(0.2)
        later = (await call(client.stub.ContainerStats, request, deadline=5)).stats
        assert later.cpu.usage_core_nano_seconds.value > first.cpu.usage_core_nano_seconds.value
        assert later.cpu.usage_nano_cores.value > 0


async def test_a_log_is_reopened_where_a_container_writes_and_only_there(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "echo before; while [ ! -e /go ]; do sleep 0.02; done; echo after")
        path = Path((await client.status(container)).log_path)
        async with asyncio.timeout(10):
            while "before" not in path.read_text():
                await asyncio.sleep(0.02)
        path.rename(path.with_suffix(".old"))
        request = cri.ReopenContainerLogRequest(container_id=container)
        await call(client.stub.ReopenContainerLog, request, deadline=10)
        await client.exec(container, "touch", "/go")
        await client.exited(container)
        assert path.with_suffix(".old").read_text().endswith("before\n")
        assert path.read_text().endswith("after\n")
        for wanted, kind in ((container, Kind.PRECONDITION), ("unknown", Kind.NOT_FOUND)):
            with pytest.raises(Fault) as caught:
                await call(
                    client.stub.ReopenContainerLog, cri.ReopenContainerLogRequest(container_id=wanted), deadline=10
                )
            assert caught.value.kind is kind
