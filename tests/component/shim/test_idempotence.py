"""What a kubelet asks again, twice at once, or in the wrong order, with real cells."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.support.shim import RunningShim, running_shim

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]


async def stop_container(shim: RunningShim, container: str) -> None:
    await call(shim.runtime.StopContainer, cri.StopContainerRequest(container_id=container), deadline=30)


async def remove_container(shim: RunningShim, container: str) -> None:
    await call(shim.runtime.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=30)


async def stop_sandbox(shim: RunningShim, sandbox: str) -> None:
    await call(shim.runtime.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), deadline=60)


async def remove_sandbox(shim: RunningShim, sandbox: str) -> None:
    await call(shim.runtime.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox), deadline=60)


async def test_containers_of_a_pod_start_once_and_end_as_often_as_asked(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        config = shim.config("u1")
        sandbox = await shim.run(config)
        assert await shim.run(config) == sandbox
        container = await shim.create(sandbox, config)
        with pytest.raises(Fault, match="has the same name and attempt") as taken:
            await shim.create(sandbox, config)
        assert taken.value.kind is Kind.EXISTS
        await shim.start(container)
        with pytest.raises(Fault, match="it is running, not created") as twice:
            await shim.start(container)
        assert twice.value.kind is Kind.PRECONDITION
        assert await shim.said(container, "echo alive") == "alive\n"

        for _ in range(2):
            await stop_container(shim, container)
        assert (await shim.status(container)).exit_code == 137
        for _ in range(2):
            await remove_container(shim, container)
        again = await shim.create(sandbox, config)
        assert again != container
        await shim.start(again)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(stop_container(shim, again))
                tasks.create_task(remove_container(shim, again))
        assert not (await call(shim.runtime.ListContainers, cri.ListContainersRequest(), deadline=5)).containers
        await shim.remove(sandbox)


async def test_a_stopped_pod_takes_nothing_new_and_a_removed_one_is_not_found(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        config = shim.config("u1")
        sandbox = await shim.run(config)
        created = await shim.create(sandbox, config)
        running = await shim.create(sandbox, config, attempt=1)
        await shim.start(running)
        # There is no log to wait for of what never started; the wait for one would outlast this deadline.
        await call(shim.runtime.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), deadline=20)
        await stop_sandbox(shim, sandbox)
        assert (await shim.sandbox_status(sandbox)).state == cri.SANDBOX_NOTREADY
        assert (await shim.status(running)).state == cri.CONTAINER_EXITED
        with pytest.raises(Fault, match=r"its sandbox \w+ is not ready") as refused:
            await shim.start(created)
        assert refused.value.kind is Kind.PRECONDITION
        asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=cri.ContainerConfig(), sandbox_config=config)
        with pytest.raises(Fault, match="is not ready"):
            await call(shim.runtime.CreateContainer, asked, deadline=10)
        with pytest.raises(Fault, match="has the same uid and attempt and is over") as over:
            await shim.run(config)
        assert over.value.kind is Kind.EXISTS
        await remove_container(shim, running)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(remove_sandbox(shim, sandbox))
        for gone in (shim.status(created), shim.status(running), shim.sandbox_status(sandbox)):
            with pytest.raises(Fault) as missing:
                await gone
            assert missing.value.kind is Kind.NOT_FOUND
        for unknown in (sandbox, "unknown"):
            await stop_sandbox(shim, unknown)
            await remove_sandbox(shim, unknown)
            await stop_container(shim, unknown)
            await remove_container(shim, unknown)
        await shim.controller.until(lambda cells: all(cell["state"] == "ready" for cell in cells))


async def test_a_running_pod_is_removed_with_its_containers_and_its_cell(tmp_path: Path) -> None:
    async with running_shim(tmp_path, "") as shim:
        sandbox, container = await shim.pod(uid="u1")
        await remove_sandbox(shim, sandbox)
        for gone in (shim.status(container), shim.sandbox_status(sandbox)):
            with pytest.raises(Fault) as missing:
                await gone
            assert missing.value.kind is Kind.NOT_FOUND
        await shim.controller.until(lambda cells: not cells)
