"""Containers and pods that are resized through the shim, in real cells: held by the kernel, or refused by numbers."""

from __future__ import annotations

import asyncio
import os

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.call import call
from controller.clouds.local.instance_cgroups import Groups
from tests.support.shim import RunningShim

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]
MIB = 1 << 20
LIMIT = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"


async def resize_container(shim: RunningShim, container: str, mebibytes: int) -> None:
    linux = cri.LinuxContainerResources(memory_limit_in_bytes=mebibytes * MIB)
    request = cri.UpdateContainerResourcesRequest(container_id=container, linux=linux)
    await call(shim.runtime.UpdateContainerResources, request, deadline=30)


async def resize_pod(shim: RunningShim, sandbox: str, mebibytes: int) -> None:
    resources = cri.LinuxContainerResources(memory_limit_in_bytes=mebibytes * MIB)
    request = cri.UpdatePodSandboxResourcesRequest(pod_sandbox_id=sandbox, resources=resources)
    await call(shim.runtime.UpdatePodSandboxResources, request, deadline=30)


async def until_held_to_their_size(shim: RunningShim) -> None:
    """Instances of the local cloud may use more CPU than they have while they boot."""
    cloud = shim.controller.cloud
    groups = Groups(cloud.cluster, cloud.cgroup_parent)

    def unlimited() -> bool:
        names = ("cpu.cfs_quota_us", "cpu.max")
        files = [group / name for one in groups.instances() for group in groups.of(one) for name in names]
        said = [file.read_text() for file in files if file.exists()]
        return not said or any(text.startswith(("-1", "max")) for text in said)

    async with asyncio.timeout(60):
        while unlimited():
            await asyncio.sleep(0.1)


async def test_a_resize_is_held_on_the_cell_and_one_beyond_it_is_refused_with_both_numbers(shim: RunningShim) -> None:
    waiting = "while [ ! -e /go ]; do sleep 0.05; done; tail /dev/zero"
    sandbox, container = await shim.pod("sh", "-c", waiting, uid="resized")
    await resize_container(shim, container, 48)
    assert await shim.said(container, LIMIT) == f"{48 * MIB}\n"
    assert (await shim.status(container)).resources.linux.memory_limit_in_bytes == 48 * MIB
    for beyond in (resize_container(shim, container, 1 << 20), resize_pod(shim, sandbox, 1 << 20)):
        with pytest.raises(Fault, match=r"1048576 MiB is asked, and cell c-\S+ \(.+\) has \d+ MiB"):
            await beyond
    with pytest.raises(Fault, match="there is none with this id"):
        await resize_pod(shim, "unknown", 16)

    # The container may use 48 MiB of its own, and its pod's 16 stop it before.
    await resize_pod(shim, sandbox, 16)
    await shim.said(container, "touch /go")
    async with asyncio.timeout(30):
        while (status := await shim.status(container)).state != cri.CONTAINER_EXITED:
            await asyncio.sleep(0.05)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
    await shim.remove(sandbox)


async def test_a_container_with_a_cpu_limit_above_its_cells_size_runs_and_can_be_resized(shim: RunningShim) -> None:
    await until_held_to_their_size(shim)
    config = shim.config()
    sandbox = await shim.run(config)
    more = cri.ContainerConfig()
    more.linux.resources.CopyFrom(cri.LinuxContainerResources(cpu_quota=600_000, cpu_period=100_000))
    container = await shim.create(sandbox, config, more=more)
    await shim.start(container)
    assert (await shim.status(container)).resources.linux.cpu_quota == 600_000
    await resize_container(shim, container, 48)
    assert await shim.said(container, LIMIT) == f"{48 * MIB}\n"
    await shim.remove(sandbox)
