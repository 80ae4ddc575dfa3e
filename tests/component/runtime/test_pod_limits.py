"""Limits of a whole pod, as the kernel holds them, in control groups of version 1 or 2."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cellagent.kernel import cgroups
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents, Client, with_both_runtimes

pytestmark = with_both_runtimes

V2 = cgroups.layout() is cgroups.Layout.V2
MIB = 1 << 20


async def resize(client: Client, sandbox: str, *, overhead: dict[str, int] | None = None, **wanted: int) -> None:
    request = cri.UpdatePodSandboxResourcesRequest(
        pod_sandbox_id=sandbox,
        resources=cri.LinuxContainerResources(**wanted),  # pyright: ignore[reportArgumentType]
        overhead=cri.LinuxContainerResources(**(overhead or {})),  # pyright: ignore[reportArgumentType]
    )
    await call(client.stub.UpdatePodSandboxResources, request, deadline=10)


async def resident(client: Client, sandbox: str) -> int:
    request = cri.PodSandboxStatsRequest(pod_sandbox_id=sandbox)
    return (await call(client.stub.PodSandboxStats, request, deadline=5)).stats.linux.memory.rss_bytes.value


async def info(client: Client, sandbox: str) -> dict[str, object]:
    request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True)
    return json.loads((await call(client.stub.PodSandboxStatus, request, deadline=10)).info["info"])


async def held(client: Client, sandbox: str) -> list[str]:
    """What the pod's own group says: memory, CPU quota, CPU period."""
    path = str((await info(client, sandbox))["cgroup"]).lstrip("/")
    if V2:
        files = [cgroups.ROOT / path / name for name in ("memory.max", "cpu.max")]
    else:
        of = cgroups.hierarchies()
        cpu = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        files = [of["memory"] / path / "memory.limit_in_bytes", *(of["cpu"] / path / name for name in cpu)]
    return " ".join(file.read_text().strip() for file in files).split()


async def test_a_pod_is_held_to_its_limits_and_what_is_not_said_stays(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        listed = await call(client.stub.ListContainers, cri.ListContainersRequest(), deadline=5)
        sandbox = next(one.pod_sandbox_id for one in listed.containers if one.id == container)
        extra = {"memory_limit_in_bytes": 8 * MIB, "cpu_quota": 10_000, "cpu_period": 100_000}
        await resize(
            client, sandbox, overhead=extra, memory_limit_in_bytes=64 * MIB, cpu_quota=50_000, cpu_period=100_000
        )
        assert await held(client, sandbox) == [str(72 * MIB), "60000", "100000"]
        await resize(client, sandbox, memory_limit_in_bytes=32 * MIB)
        assert await held(client, sandbox) == [str(32 * MIB), "60000", "100000"]
        assert (await info(client, sandbox))["resources"] == {"memory_limit_in_bytes": 32 * MIB}
        assert (await client.exec(container, "true")).exit_code == 0


@pytest.mark.parametrize("spelling", [8796093022207 * MIB, (1 << 63) - 4096, -1], ids=["MiB", "pages", "minus"])
async def test_a_pod_whose_limit_is_lifted_has_none(agent: Agents, spelling: int) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        unlimited = await held(client, sandbox)
        await resize(client, sandbox, memory_limit_in_bytes=64 * MIB, cpu_quota=50_000, cpu_period=100_000)
        extra = {"memory_limit_in_bytes": 8 * MIB}
        await resize(client, sandbox, overhead=extra, memory_limit_in_bytes=spelling, cpu_quota=-1, cpu_period=100_000)
        assert await held(client, sandbox) == unlimited


async def test_a_container_without_a_limit_of_its_own_ends_at_its_pods(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        container = await client.create(sandbox, "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; tail /dev/zero")
        await client.start(container)
        await resize(client, sandbox, memory_limit_in_bytes=24 * MIB)
        await client.exec(container, "touch", "/go")
        status = await client.exited(container)
        assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_what_the_machine_or_the_pod_cannot_follow_is_refused_with_both_numbers(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        container = await client.create(sandbox, "sh", "-c", "(head -c 40000000 /dev/zero; sleep 100) | tail -n 1")
        await client.start(container)
        with pytest.raises(Fault, match=r"MiB are wanted and this machine has \d+ MiB") as caught:
            await resize(client, sandbox, memory_limit_in_bytes=1 << 50)
        assert caught.value.kind is Kind.NO_CAPACITY
        with pytest.raises(Fault, match=r"1000 CPUs are wanted and this machine has \d+"):
            await resize(client, sandbox, cpu_quota=100_000_000, cpu_period=100_000)
        async with asyncio.timeout(30):
            while await resident(client, sandbox) < 38_000_000:
                await asyncio.sleep(0.05)
        with pytest.raises(Fault, match=r"the pod holds \d+ MiB and a limit of 8 MiB is wanted") as caught:
            await resize(client, sandbox, memory_limit_in_bytes=8 * MIB)
        assert caught.value.kind is Kind.PRECONDITION
        assert (await client.status(container)).state == cri.CONTAINER_RUNNING


@pytest.mark.skipif(V2, reason="NOT RUN: version 2 lets a container ask for more than its pod has")
async def test_less_cpu_for_a_pod_than_one_of_its_containers_may_use_is_refused(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        linux = cri.LinuxContainerConfig(resources=cri.LinuxContainerResources(cpu_quota=50_000, cpu_period=100_000))
        container = await client.create(sandbox, "sleep", "100", linux=linux)
        await client.start(container)
        with pytest.raises(Fault, match=r"lower the limits of the pod's containers first"):
            await resize(client, sandbox, cpu_quota=20_000, cpu_period=100_000)


async def test_a_group_that_the_caller_named_stays_as_the_caller_wrote_it(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        config.linux.cgroup_parent = f"/chinampa-named-{client.folder.name}"
        try:
            sandbox = await client.sandbox(config)
            before = await held(client, sandbox)
            await resize(client, sandbox, memory_limit_in_bytes=32 * MIB)
            assert await held(client, sandbox) == before
            await client.tidy()
        finally:
            await asyncio.to_thread(cgroups.ControlGroup(config.linux.cgroup_parent).remove)
        assert not Path("/sys/fs/cgroup/memory", config.linux.cgroup_parent.lstrip("/")).exists()


async def test_a_pod_that_is_stopped_or_unknown_cannot_be_resized(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        await call(client.stub.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), deadline=30)
        for wanted, kind in ((sandbox, Kind.PRECONDITION), ("unknown", Kind.NOT_FOUND)):
            with pytest.raises(Fault) as caught:
                await resize(client, wanted, memory_limit_in_bytes=32 * MIB)
            assert caught.value.kind is kind
