"""Sandboxes and containers through a CRI client, from made to removed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import cast

import pytest

from cellagent.kernel import cgroups
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents, Client, with_both_runtimes
from tests.support.files import below
from tests.support.registry import free_port
from tests.support.waiting import until_found

pytestmark = with_both_runtimes
UNKNOWN = cast("cri.Protocol.ValueType", 77)


async def remove_container(client: Client, container: str) -> None:
    await call(client.stub.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=30)


async def test_a_container_runs_says_its_lines_and_tells_its_exit_code(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "echo out; echo err >&2; exit 7")
        status = await client.exited(container)
        assert (status.exit_code, status.reason) == (7, "Error")
        assert 0 < status.created_at < status.started_at <= status.finished_at
        lines = [line.split(" ", 1)[1] for line in (await client.log(container)).splitlines()]
        assert sorted(lines) == ["stderr F err", "stdout F out"]


async def test_a_container_that_ends_well_is_completed(agent: Agents) -> None:
    async with agent() as client:
        status = await client.exited(await client.run("true"))
        assert (status.exit_code, status.reason) == (0, "Completed")


async def test_a_command_that_is_not_there_is_a_start_error_in_the_runtimes_words(agent: Agents) -> None:
    async with agent() as client:
        container = await client.create(await client.sandbox(), "no-such-program")
        with pytest.raises(Fault, match=r"no-such-program.*not found"):
            await client.start(container)
        status = await client.status(container)
        assert (status.state, status.exit_code, status.reason) == (cri.CONTAINER_EXITED, 128, "StartError")
        assert "not found" in status.message


async def test_a_group_without_a_user_is_refused(agent: Agents) -> None:
    async with agent() as client:
        context = cri.LinuxContainerSecurityContext(run_as_group=cri.Int64Value(value=1001))
        linux = cri.LinuxContainerConfig(security_context=context)
        with pytest.raises(Fault, match="runAsGroup is set without a user"):
            await client.create(await client.sandbox(), "true", linux=linux)


async def test_a_container_above_its_memory_limit_is_oom_killed(agent: Agents) -> None:
    async with agent() as client:
        linux = cri.LinuxContainerConfig(resources=cri.LinuxContainerResources(memory_limit_in_bytes=20 << 20))
        container = await client.run("sh", "-c", "tail /dev/zero", linux=linux)
        status = await client.exited(container)
        assert (status.reason, status.exit_code) == ("OOMKilled", 137)


async def test_stopping_sends_the_stop_signal_and_waits_for_the_grace(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done")
        await asyncio.sleep(0.2)
        await client.stop(container, 10)
        assert (await client.status(container)).exit_code == 3
        assert "bye" in await client.log(container)


async def test_a_container_that_is_stopped_while_it_starts_does_not_live_to_the_end_of_its_grace(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "sleep 1; trap 'exit 5' TERM; while :; do sleep 0.1; done")
        await call(client.stub.StopContainer, cri.StopContainerRequest(container_id=container, timeout=40), deadline=20)
        assert (await client.exited(container)).exit_code == 5


async def test_what_is_not_yet_the_containers_own_process_is_sent_no_signal(agent: Agents) -> None:
    async with agent() as client, asyncio.TaskGroup() as tasks:
        name = "> /proc/self/comm"
        early = f"trap 'exit 2' TERM; echo 'runc:[2:INIT]' {name}; echo there; until [ -e /go ]; do sleep 0.05; done"
        container = await client.run(
            "sh", "-c", f"{early}; trap 'exit 5' TERM; echo sh {name}; while :; do sleep 0.1; done"
        )
        await until_found(lambda: client.log(container))
        stop = cri.StopContainerRequest(container_id=container, timeout=100)
        tasks.create_task(call(client.stub.StopContainer, stop, deadline=200))
        going = cri.ExecSyncRequest(container_id=container, cmd=["touch", "/go"], timeout=60)
        assert (await call(client.stub.ExecSync, going, deadline=60)).exit_code == 0
        assert (await client.exited(container)).exit_code == 5


WAITS = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("there", flush=True)
signal.sigwait([signal.SIGTERM])
raise SystemExit(7)
"""


async def test_a_first_process_that_blocks_its_stop_signal_and_waits_for_it_gets_it(agent: Agents) -> None:
    async with agent() as client:
        machine = cri.Mount(host_path="/", container_path="/machine", readonly=True)
        command = ("busybox", "chroot", "/machine", os.path.realpath(sys.executable), "-c", WAITS)
        container = await client.create(await client.sandbox(), *command, mounts=[machine])
        await client.start(container)
        await until_found(lambda: client.log(container))
        stop = cri.StopContainerRequest(container_id=container, timeout=100)
        await call(client.stub.StopContainer, stop, deadline=200)
        assert (await client.status(container)).exit_code == 7


async def test_a_container_whose_stop_signal_is_sigkill_ends_by_it(agent: Agents) -> None:
    async with agent() as client:
        container = await client.create(await client.sandbox(), "sleep", "1000", stop_signal=cri.SIGNAL_SIGKILL)
        await client.start(container)
        await client.stop(container, 1000)
        assert (await client.status(container)).exit_code == 137


async def test_a_deaf_container_is_killed_after_its_grace(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
        await asyncio.sleep(0.1)
        await client.stop(container, 1)
        assert (await client.status(container)).exit_code == 137


async def test_running_a_sandbox_again_gives_the_same_one(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        together = [asyncio.ensure_future(client.sandbox(config)) for _ in range(3)]
        found = {await one for one in together}
        assert found == {await client.sandbox(config)}


async def test_stop_and_remove_of_the_unknown_succeed_and_status_is_not_found(agent: Agents) -> None:
    async with agent() as client:
        stub = client.stub
        await client.stop("unknown")
        await remove_container(client, "unknown")
        await call(stub.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id="unknown"), deadline=5)
        await call(stub.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id="unknown"), deadline=5)
        with pytest.raises(Fault) as caught:
            await client.status("unknown")
        assert caught.value.kind is Kind.NOT_FOUND
        with pytest.raises(Fault) as caught:
            await call(stub.PodSandboxStatus, cri.PodSandboxStatusRequest(pod_sandbox_id="unknown"), deadline=5)
        assert caught.value.kind is Kind.NOT_FOUND


async def test_an_image_that_is_not_there_is_not_found(agent: Agents) -> None:
    async with agent() as client:
        with pytest.raises(Fault) as caught:
            await client.create(await client.sandbox(), "true", image=cri.ImageSpec(image="nowhere.test/x:1"))
        assert caught.value.kind is Kind.NOT_FOUND


async def test_a_pod_has_its_own_address_hostname_and_files(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config(dns_config=cri.DNSConfig(servers=["10.96.0.10"], searches=["svc.test"]))
        config.linux.security_context.namespace_options.network = cri.POD
        sandbox = await client.sandbox(config)
        container = await client.create(sandbox, "sleep", "100")
        await client.start(container)
        status = await call(
            client.stub.PodSandboxStatus, cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox), deadline=5
        )
        address = status.status.network.ip
        assert address.startswith("10.4.")
        said = await client.exec(container, "sh", "-c", "hostname; cat /etc/resolv.conf /etc/hosts; ip -4 addr")
        text = said.stdout.decode()
        assert text.startswith("garden\n")
        assert "nameserver 10.96.0.10" in text
        assert f"{address}\tgarden" in text
        assert f"inet {address}/" in text


async def test_containers_of_a_pod_share_processes_only_where_asked(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        config.linux.security_context.namespace_options.pid = cri.POD
        sandbox = await client.sandbox(config)
        seen: dict[int, str] = {}
        for mode in (cri.POD, cri.CONTAINER):
            linux = cri.LinuxContainerConfig()
            linux.security_context.namespace_options.pid = mode
            container = await client.create(sandbox, "sh", "-c", "echo $$; sleep 100", name=f"c{mode}", linux=linux)
            await client.start(container)
            await asyncio.sleep(0.1)
            seen[mode] = (await client.log(container)).split()[-1]
        assert seen[cri.CONTAINER] == "1"
        assert int(seen[cri.POD]) > 1


async def test_variables_reach_the_container(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", "-c", "echo =$SEED=", envs=[cri.KeyValue(key="SEED", value=b"maize")])
        await client.exited(container)
        assert "=maize=" in await client.log(container)


async def test_users_and_groups_are_those_of_the_image(agent: Agents) -> None:
    async with agent() as client:
        linux = cri.LinuxContainerConfig()
        linux.security_context.run_as_username = "weaver"
        container = await client.run("sh", "-c", "id; sleep 100", linux=linux)
        status = await client.status(container)
        assert (status.user.linux.uid, status.user.linux.gid) == (1001, 1002)
        said = (await client.exec(container, "id")).stdout.decode()
        assert "uid=1001" in said
        assert "1003" in said


async def test_removing_leaves_the_log_and_nothing_else(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        log = Path((await client.status(container)).log_path)
        await remove_container(client, container)
        assert log.exists()
        assert container not in Path("/proc/self/mountinfo").read_text()
        assert not [top for top in cgroups.hierarchies().values() if list(top.glob(f"chinampa/*/{container}"))]
        assert not (client.folder / "state" / "containers" / container).exists()


async def test_lists_are_filtered_by_id_state_and_labels(agent: Agents) -> None:
    async with agent() as client:
        one = await client.run("sleep", "100", labels={"tier": "web"})
        two = await client.run("true")
        await client.exited(two)

        async def listed(**wanted: object) -> set[str]:
            request = cri.ListContainersRequest(filter=cri.ContainerFilter(**wanted))  # pyright: ignore[reportArgumentType]
            return {item.id for item in (await call(client.stub.ListContainers, request, deadline=5)).containers}

        assert await listed() == {one, two}
        assert await listed(state=cri.ContainerStateValue(state=cri.CONTAINER_EXITED)) == {two}
        assert await listed(label_selector={"tier": "web"}) == {one}
        assert await listed(id=one[:12]) == {one}


async def test_events_tell_what_happens_with_the_state_after_it(agent: Agents) -> None:
    async with agent() as client, client.stub.GetContainerEvents.open() as stream:
        await stream.send_message(cri.GetEventsRequest(), end=True)
        await stream.recv_initial_metadata()
        container = await client.run("true")
        kinds: list[int] = []
        async with asyncio.timeout(10):
            while cri.CONTAINER_STOPPED_EVENT not in kinds:
                event = await stream.recv_message()
                assert event is not None
                if event.container_id == container:
                    kinds.append(event.container_event_type)
        assert kinds == [cri.CONTAINER_CREATED_EVENT, cri.CONTAINER_STARTED_EVENT, cri.CONTAINER_STOPPED_EVENT]
        await stream.cancel()


async def test_who_has_chosen_a_containers_id_hears_of_it_first_when_it_starts(agent: Agents) -> None:
    async with agent() as client, client.stub.GetContainerEvents.open() as stream:
        sandbox, container = await client.sandbox(), "ab" * 32
        await stream.send_message(cri.GetEventsRequest(), end=True)
        await stream.recv_initial_metadata()
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="main"), image=cri.ImageSpec(image=client.image), command=["true"]
        )
        asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config)
        made = await client.room.make_container(container, asked, None)
        assert (made.id, made.state) == (container, cri.CONTAINER_CREATED)
        await client.start(container)
        async with asyncio.timeout(10):
            event = await stream.recv_message()
        assert event is not None
        assert (event.container_id, event.container_event_type) == (container, cri.CONTAINER_STARTED_EVENT)
        await stream.cancel()


async def test_a_host_port_leads_into_the_pod(agent: Agents) -> None:
    port = free_port()
    mapping = cri.PortMapping(container_port=80, host_port=port)
    async with agent() as client:
        sandbox = await client.sandbox(client.sandbox_config(port_mappings=[mapping]))
        container = await client.create(sandbox, "sh", "-c", "while :; do echo hello | nc -l -p 80; done")
        await client.start(container)
        for _ in range(50):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                said = await reader.readline()
                writer.close()
                if said:
                    break
            except OSError:
                pass
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("nothing answered on the host port")
        assert said == b"hello\n"


async def test_a_container_is_removed_though_it_has_made_folders_in_folders_without_end(
    agent: Agents, pulled: tuple[Path, str]
) -> None:
    async with agent() as client:
        deep = "d/" * 1500
        container = await client.run("sh", "-c", f"mkdir -p /tmp/{deep} && touch /tmp/{deep}file")
        assert (await client.exited(container)).exit_code == 0
        request = cri.RemoveContainerRequest(container_id=container)
        await call(client.stub.RemoveContainer, request, deadline=60)
        assert not [path for path in below(pulled[0]) if path.name == container and path.exists()]


async def test_numbers_that_cri_gives_no_meaning_are_refused_and_leave_nothing(
    agent: Agents, pulled: tuple[Path, str]
) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        held = sorted(below(pulled[0] / "images"))
        with pytest.raises(Fault, match="no signal is 999") as raised:
            await client.create(sandbox, "true", stop_signal=999)
        assert raised.value.kind is Kind.INVALID
        assert sorted(below(pulled[0] / "images")) == held
        for config in (
            cri.PodSandboxConfig(port_mappings=[cri.PortMapping(protocol=UNKNOWN, container_port=80, host_port=80)]),
            cri.PodSandboxConfig(linux=cri.LinuxPodSandboxConfig(cgroup_parent="/a/../../../x")),
        ):
            wanted = client.sandbox_config()
            wanted.MergeFrom(config)
            with pytest.raises(Fault) as raised:
                await client.sandbox(wanted)
            assert raised.value.kind is Kind.INVALID


async def test_names_that_are_no_text_keep_nothing_from_being_stopped_and_measured(agent: Agents) -> None:
    """A process names itself, and who may change the network its interfaces."""
    linux = cri.LinuxContainerConfig()
    linux.security_context.namespace_options.pid = cri.CONTAINER
    linux.security_context.capabilities.add_capabilities.append("NET_ADMIN")
    named = "/tmp/busybox$(printf '\\377')"
    renamed = "ip link set eth0 down; ip link set eth0 name w$(printf '\\377'); ip link set lo up"
    async with agent() as client:
        command = f"{renamed}; cp /bin/busybox {named}; exec {named} sleep 1000"
        container = await client.run("sh", "-c", command, linux=linux)
        comm = Path(f"/proc/{await client.pid(container)}/comm")
        async with asyncio.timeout(20):
            while b"\xff" not in comm.read_bytes():
                await asyncio.sleep(0.02)
        assert b"w\xff:" in comm.with_name("net").joinpath("dev").read_bytes()
        told = await call(client.stub.ListPodSandboxStats, cri.ListPodSandboxStatsRequest(), deadline=10)
        assert [one.linux.network.default_interface.name for one in told.stats] == ["w\ufffd"]
        await client.stop(container)
        assert (await client.status(container)).state == cri.CONTAINER_EXITED


async def test_what_a_container_writes_to_etc_hostname_is_nothing_to_the_next(agent: Agents) -> None:
    async with agent() as client:
        sandbox = await client.sandbox()
        first = await client.create(sandbox, "sh", "-c", "printf '\\377' > /etc/hostname", name="first")
        await client.start(first)
        assert (await client.exited(first)).exit_code == 0
        second = await client.create(sandbox, "sh", "-c", "echo $HOSTNAME", name="second")
        await client.start(second)
        assert (await client.exited(second)).exit_code == 0
        assert (await client.log(second)).endswith("F garden\n")
