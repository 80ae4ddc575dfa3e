"""What a client asks again, twice at once, or in the wrong order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cellagent.kernel import cgroups, mounts, namespace_init
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents, Client
from tests.support.waiting import until

End = Callable[[Client, str], Awaitable[None]]


async def stop_sandbox(client: Client, sandbox: str) -> None:
    await call(client.stub.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox), deadline=30)


async def remove_sandbox(client: Client, sandbox: str) -> None:
    await call(client.stub.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox), deadline=30)


async def remove_container(client: Client, container: str) -> None:
    await call(client.stub.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=30)


async def sandbox_state(client: Client, sandbox: str) -> int:
    request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
    return (await call(client.stub.PodSandboxStatus, request, deadline=5)).status.state


async def known(client: Client) -> tuple[list[str], list[str]]:
    """All sandboxes and containers."""
    listed = await call(client.stub.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=5)
    beside = await call(client.stub.ListContainers, cri.ListContainersRequest(), deadline=5)
    return [one.id for one in listed.items], [one.id for one in beside.containers]


async def test_what_is_stopped_and_removed_again_succeeds_and_is_not_found_by_its_status(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        container = await client.create(sandbox, "sleep", "100")
        await client.start(container)
        for _ in range(2):
            await client.stop(container)
        assert (await client.status(container)).exit_code == 137
        for _ in range(2):
            await stop_sandbox(client, sandbox)
        assert await sandbox_state(client, sandbox) == cri.SANDBOX_NOTREADY
        for _ in range(2):
            await remove_container(client, container)
        for _ in range(2):
            await remove_sandbox(client, sandbox)
        await client.stop(container)
        await stop_sandbox(client, sandbox)
        for gone in (client.status(container), sandbox_state(client, sandbox)):
            with pytest.raises(Fault) as caught:
                await gone
            assert caught.value.kind is Kind.NOT_FOUND


async def test_a_running_sandbox_is_removed_with_its_running_containers_by_many_at_once(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        for name in ("one", "two", "three"):
            await client.start(await client.create(sandbox, "sleep", "100", name=name))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(remove_sandbox(client, sandbox))
                tasks.create_task(stop_sandbox(client, sandbox))
        assert await known(client) == ([], [])


async def test_a_running_container_is_removed_by_many_at_once(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(remove_container(client, container))
                tasks.create_task(client.stop(container))
        assert (await known(client))[1] == []


async def test_a_container_starts_once(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        for words in ("it is running, not created", "it is exited, not created"):
            with pytest.raises(Fault, match=words) as caught:
                await client.start(container)
            assert caught.value.kind is Kind.PRECONDITION
            await client.stop(container)


async def test_a_name_is_taken_until_its_container_is_removed_and_for_its_attempt_only(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        asked = [asyncio.create_task(client.create(sandbox, "sleep", "100")) for _ in range(3)]
        await asyncio.wait(asked)
        made = [one.result() for one in asked if not one.exception()]
        refused = [one.exception() for one in asked if one.exception()]
        assert len(made) == 1
        assert [one.kind for one in refused if isinstance(one, Fault)] == [Kind.EXISTS] * 2
        assert f"{made[0][:13]} has the same name and attempt" in str(refused[0])
        again = await client.create(sandbox, "sleep", "100", metadata=cri.ContainerMetadata(name="main", attempt=1))
        # Of another pod, the same name is another's.
        await client.create(await client.sandbox(), "sleep", "100")
        await remove_container(client, made[0])
        assert await client.create(sandbox, "sleep", "100") not in {made[0], again}


async def test_a_sandbox_is_run_again_only_after_it_was_removed(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        first = await client.sandbox(config)
        assert await client.sandbox(config) == first
        await stop_sandbox(client, first)
        with pytest.raises(Fault, match="has the same uid and attempt and is stopped") as caught:
            await client.sandbox(config)
        assert caught.value.kind is Kind.EXISTS
        config.metadata.attempt = 1
        second = await client.sandbox(config)
        config.metadata.attempt = 0
        await remove_sandbox(client, first)
        assert len({first, second, await client.sandbox(config)}) == 3


@pytest.mark.parametrize("end", [stop_sandbox, remove_sandbox])
@pytest.mark.parametrize("pause", [0.0, 0.003, 0.01, 0.03, 0.1])
async def test_a_sandbox_that_is_ended_while_it_is_made_leaves_nothing(agent: Agents, end: End, pause: float) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        config.linux.security_context.namespace_options.pid = cri.POD
        making = asyncio.create_task(client.sandbox(config))
        while not (made := (await known(client))[0]):
            await asyncio.sleep(0)
        record = next(iter((client.folder / "state" / "sandboxes").iterdir()))
        await asyncio.sleep(pause)
        holder = namespace_init.running(record / "ns")
        await end(client, made[0])
        await asyncio.wait([making])
        if isinstance(fault := making.exception(), Fault):
            assert fault.kind is Kind.PRECONDITION
        assert [await sandbox_state(client, one) for one in (await known(client))[0]] in ([], [cri.SANDBOX_NOTREADY])
        assert mounts.mounted_below(client.folder / "state") == []
        await until(lambda: not holder or not Path(f"/proc/{holder}").exists())
        await remove_sandbox(client, made[0])
        assert await known(client) == ([], [])
        assert not cgroups.ControlGroup(f"{cgroups.own_parent()}/pod{made[0][:13]}").exists()


async def test_nothing_is_made_or_started_in_a_sandbox_that_is_stopped_or_unknown(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        # Without namespaces of its own nothing but the record keeps a container from starting in it.
        options = config.linux.security_context.namespace_options
        options.network, options.ipc, options.pid = cri.NODE, cri.NODE, cri.NODE
        sandbox = await client.sandbox(config)
        linux = cri.LinuxContainerConfig(security_context=cri.LinuxContainerSecurityContext(namespace_options=options))
        container = await client.create(sandbox, "sleep", "100", linux=linux)
        await stop_sandbox(client, sandbox)
        with pytest.raises(Fault, match=r"its sandbox \w+ is stopped") as caught:
            await client.start(container)
        assert caught.value.kind is Kind.PRECONDITION
        for wanted, kind in ((sandbox, Kind.PRECONDITION), ("unknown", Kind.NOT_FOUND)):
            with pytest.raises(Fault) as caught:
                await client.create(wanted, "true", name="other")
            assert caught.value.kind is kind
        with pytest.raises(Fault) as caught:
            await client.start("unknown")
        assert caught.value.kind is Kind.NOT_FOUND


@pytest.mark.parametrize("end", [stop_sandbox, remove_sandbox])
async def test_a_sandbox_that_is_ended_while_a_container_starts_leaves_none_running(agent: Agents, end: object) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        container = await client.create(sandbox, "sleep", "100")
        starting = asyncio.create_task(client.start(container))
        await asyncio.sleep(0.01)
        await (stop_sandbox if end is stop_sandbox else remove_sandbox)(client, sandbox)
        await asyncio.wait((starting,))
        if end is remove_sandbox:
            assert await known(client) == ([], [])
        else:
            assert (await client.status(container)).state != cri.CONTAINER_RUNNING
