"""Limits as the kernel holds them, in control groups of version 1 or 2: whichever this machine has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellagent.kernel import cgroups
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents, Client, with_both_runtimes
from tests.support.files import below

pytestmark = with_both_runtimes

V2 = cgroups.layout() is cgroups.Layout.V2
# What a container reads of its own limits: memory, CPU quota and period, processors.
SHOW = (
    "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max cpuset.cpus"
    if V2
    else "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us;"
    "cat cpuset/cpuset.cpus"
)


async def shown(client: Client, container: str) -> list[str]:
    return (await client.exec(container, "sh", "-c", SHOW)).stdout.decode().split()


async def update(client: Client, container: str, **wanted: int) -> None:
    linux = cri.LinuxContainerResources(**wanted)  # pyright: ignore[reportArgumentType]
    # As a kubelet asks: none of every page size, also where the machine does not count them.
    linux.hugepage_limits.add(page_size="2MB", limit=0)
    request = cri.UpdateContainerResourcesRequest(container_id=container, linux=linux)
    await call(client.stub.UpdateContainerResources, request, deadline=30)


async def held(client: Client, container: str) -> int:
    told = await call(client.stub.ContainerStats, cri.ContainerStatsRequest(container_id=container), deadline=10)
    return told.stats.memory.rss_bytes.value


async def test_a_container_sees_its_limits_and_their_change(agent: Agents) -> None:
    asked = cri.LinuxContainerResources(
        memory_limit_in_bytes=64 << 20, cpu_period=50_000, cpu_quota=25_000, cpuset_cpus="0"
    )
    async with agent() as client:
        container = await client.run("sleep", "100", linux=cri.LinuxContainerConfig(resources=asked))
        # On version 2 swap is limited apart, and who says nothing of it gets none.
        swap = ["0"] if V2 else []
        assert await shown(client, container) == [str(64 << 20), *swap, "25000", "50000", "0"]
        await update(client, container, memory_limit_in_bytes=128 << 20, cpu_quota=75_000)
        assert await shown(client, container) == [str(128 << 20), *swap, "75000", "50000", "0"]
        await update(client, container, memory_limit_in_bytes=32 << 20)
        assert await shown(client, container) == [str(32 << 20), *swap, "75000", "50000", "0"]
        told = (await client.status(container)).resources.linux
        assert (told.memory_limit_in_bytes, told.cpu_quota, told.cpuset_cpus) == (32 << 20, 75_000, "0")


@pytest.mark.parametrize("spelling", [8796093022207 << 20, (1 << 63) - 4096, -1], ids=["MiB", "pages", "minus"])
async def test_a_container_made_without_a_limit_or_rid_of_it_has_none(agent: Agents, spelling: int) -> None:
    async with agent() as client:
        none = await shown(client, await client.run("sleep", "100"))
        asked = cri.LinuxContainerResources(memory_limit_in_bytes=spelling, memory_swap_limit_in_bytes=spelling)
        made = await client.run("sleep", "100", linux=cri.LinuxContainerConfig(resources=asked))
        assert await shown(client, made) == none
        asked = cri.LinuxContainerResources(memory_limit_in_bytes=64 << 20, memory_swap_limit_in_bytes=64 << 20)
        changed = await client.run("sleep", "100", linux=cri.LinuxContainerConfig(resources=asked))
        await update(client, changed, memory_limit_in_bytes=spelling)
        assert await shown(client, changed) == none
        told = (await client.status(changed)).resources.linux
        assert told.memory_limit_in_bytes == -1


async def test_more_memory_than_the_machine_has_is_refused(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        with pytest.raises(Fault) as caught:
            await update(client, container, memory_limit_in_bytes=1 << 50)
        assert caught.value.kind is Kind.NO_CAPACITY


async def test_less_memory_than_a_container_holds_is_refused_and_it_lives_on(agent: Agents) -> None:
    linux = cri.LinuxContainerConfig(resources=cri.LinuxContainerResources(memory_limit_in_bytes=128 << 20))
    # A line without an end is held in memory: 40 MB of it.
    script = "(head -c 40000000 /dev/zero; sleep 100) | tail -n 1"
    async with agent() as client:
        container = await client.run("sh", "-c", script, linux=linux)
        async with asyncio.timeout(30):
            while await held(client, container) < 38_000_000:
                await asyncio.sleep(0.05)
        with pytest.raises(Fault, match=r"holds \d+ MiB and a limit of 8 MiB is wanted"):
            await update(client, container, memory_limit_in_bytes=8 << 20)
        assert (await client.status(container)).state == cri.CONTAINER_RUNNING
        assert (await shown(client, container))[0] == str(128 << 20)


async def test_a_container_is_counted_with_its_commands(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        sleeping = asyncio.create_task(client.exec(container, "sleep", "3"))
        async with asyncio.timeout(20):
            while await processes(client, container) < 2:
                await asyncio.sleep(0.02)
        await sleeping
        assert await processes(client, container) == 1


async def processes(client: Client, container: str) -> int:
    told = await call(client.stub.ListPodSandboxMetrics, cri.ListPodSandboxMetricsRequest(), deadline=10)
    for pod in told.pod_metrics:
        for one in pod.container_metrics:
            if one.container_id == container:
                return next(int(each.value.value) for each in one.metrics if each.name == "container_processes")
    return 0


@pytest.mark.skipif(not V2, reason="NOT RUN: control groups of version 2 alone have settings by name")
async def test_settings_by_name_reach_the_group_and_an_oom_ends_all_that_is_in_it(agent: Agents) -> None:
    asked = cri.LinuxContainerResources(
        memory_limit_in_bytes=24 << 20, unified={"memory.oom.group": "1", "memory.low": "4194304", "pids.max": "33"}
    )
    async with agent() as client:
        script = (
            "cd /sys/fs/cgroup; cat memory.oom.group memory.low pids.max; while [ ! -e /go ]; do sleep 0.1; done;"
            "tail /dev/zero; sleep 100"
        )
        container = await client.run("sh", "-c", script, linux=cri.LinuxContainerConfig(resources=asked))
        await client.exec(container, "touch", "/go")
        status = await client.exited(container)
        assert (status.reason, status.exit_code) == ("OOMKilled", 137)
        assert [line.rpartition(" ")[2] for line in (await client.log(container)).splitlines()] == [
            "1",
            "4194304",
            "33",
        ]


@pytest.mark.skipif(not V2, reason="NOT RUN: the groups of version 1 are not seen through a namespace here")
async def test_a_container_sees_its_own_group_only_and_cannot_change_it(agent: Agents) -> None:
    async with agent() as client:
        script = "cat /proc/self/cgroup; ls -d /sys/fs/cgroup/chinampa; echo max > /sys/fs/cgroup/memory.max || echo no"
        container = await client.run("sh", "-c", script)
        await client.exited(container)
        said = [line.split(" ", 3)[3] for line in (await client.log(container)).splitlines()]
        assert said[0] == "0::/"
        assert "no" in said
        assert "/sys/fs/cgroup/chinampa" not in said


@pytest.mark.skipif(not V2, reason="NOT RUN: needs control groups of version 2")
async def test_a_privileged_container_may_have_groups_of_its_own_and_commands_still_run_in_it(agent: Agents) -> None:
    linux = cri.LinuxContainerConfig(security_context=cri.LinuxContainerSecurityContext(privileged=True))
    linux.security_context.namespace_options.pid = cri.CONTAINER
    script = (
        "cd /sys/fs/cgroup; mkdir init; echo $$ > init/cgroup.procs; echo +memory +pids > cgroup.subtree_control &&"
        "echo delegated; exec sleep 100"
    )
    async with agent() as client:
        container = await client.run("sh", "-c", script, linux=linux)
        async with asyncio.timeout(20):
            while "delegated" not in await client.log(container):
                await asyncio.sleep(0.05)
        done = await client.exec(container, "cat", "/proc/self/cgroup")
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith(b"0::/")


@pytest.mark.skipif(not V2, reason="NOT RUN: needs control groups of version 2")
async def test_the_machines_own_groups_are_as_before_when_all_is_removed(agent: Agents) -> None:
    async with agent() as client:
        await client.run("sleep", "100")
        listed = await call(client.stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=10)
        await client.tidy()
    # Another test's pods may be beside them.
    mine = tuple(f"pod{pod.id[:13]}" for pod in listed.items)
    assert mine
    assert not [one for one in below(Path("/sys/fs/cgroup")) if one.name.startswith(mine)]
