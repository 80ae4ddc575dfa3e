"""The URLs that Exec, Attach and PortForward of a lone agent give, and what is refused before there is one."""

from __future__ import annotations

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents, Client
from tests.support.spdy_client import UpgradeRefused, connected, exit_code


async def exec_url(client: Client, container: str, *command: str, **streams: bool) -> str:
    request = cri.ExecRequest(container_id=container, cmd=command, **streams)
    return (await call(client.stub.Exec, request, deadline=10)).url


async def attach_url(client: Client, container: str, **streams: bool) -> str:
    request = cri.AttachRequest(container_id=container, **streams)
    return (await call(client.stub.Attach, request, deadline=10)).url


async def port_forward(client: Client, sandbox: str, port: int) -> str:
    request = cri.PortForwardRequest(pod_sandbox_id=sandbox, port=[8080, port])
    return (await call(client.stub.PortForward, request, deadline=10)).url


async def test_a_url_leads_to_one_command_once(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        url = await exec_url(client, container, "sh", "-c", "echo out; echo err >&2; exit 7", stdout=True, stderr=True)
        assert url.startswith("http://127.0.0.1:")
        async with connected(url) as session:
            streams = await session.open_all("error", "stdout", "stderr")
            said = [await streams[name].read_all() for name in ("stdout", "stderr")]
            assert (*said, exit_code(await streams["error"].read_all())) == (b"out\n", b"err\n", 7)
        with pytest.raises(UpgradeRefused) as twice:
            async with connected(url):
                pass
        assert twice.value.status == 404


async def test_a_url_leads_to_the_process_itself_and_to_a_port(agent: Agents) -> None:
    async with agent() as client:
        reading = await client.run("sh", "-c", "read line; echo got $line; exit 6", stdin=True, stdin_once=True)
        url = await attach_url(client, reading, stdin=True, stdout=True, stderr=True)
        async with connected(url) as session:
            streams = await session.open_all("error", "stdin", "stdout", "stderr")
            await streams["stdin"].write(b"hello\n")
            assert await streams["stdout"].read_all() == b"got hello\n"
        assert (await client.exited(reading)).exit_code == 6

        sandbox = await client.sandbox()
        serving = await client.create(sandbox, "nc", "-ll", "-p", "8080", "-e", "cat")
        await client.start(serving)
        # 8080 in the kernel's table of sockets.
        listens = "until cat /proc/net/tcp* | busybox grep -q ':1F90 '; do sleep 0.02; done"
        assert (await client.exec(serving, "sh", "-c", listens)).exit_code == 0
        request = cri.PortForwardRequest(pod_sandbox_id=sandbox, port=[8080])
        url = (await call(client.stub.PortForward, request, deadline=10)).url
        async with connected(url, ("portforward.k8s.io",)) as session:
            headers = {"port": "8080", "requestID": "1"}
            await session.open({**headers, "streamType": "error"})
            data = await session.open({**headers, "streamType": "data"})
            await data.write(b"ping", fin=True)
            assert await data.read_all() == b"ping"


async def test_what_cannot_be_a_session_is_refused_before_there_is_a_url(agent: Agents) -> None:
    async with agent() as client:
        running_in, ended = await client.sandbox(), await client.run("true")
        running = await client.create(running_in, "sleep", "100")
        await client.start(running)
        await client.exited(ended)
        for asked, kind in (
            (exec_url(client, ended, "true", stdout=True), Kind.PRECONDITION),
            (attach_url(client, ended, stdout=True), Kind.PRECONDITION),
            (exec_url(client, "unknown", "true", stdout=True), Kind.NOT_FOUND),
            (exec_url(client, running, "true", tty=True, stdout=True, stderr=True), Kind.INVALID),
            (exec_url(client, running, "true"), Kind.INVALID),
            (exec_url(client, running, stdout=True), Kind.INVALID),
            (attach_url(client, running), Kind.INVALID),
            (call(client.stub.PortForward, cri.PortForwardRequest(pod_sandbox_id="no"), deadline=5), Kind.NOT_FOUND),
            *((port_forward(client, running_in, port), Kind.INVALID) for port in (0, -1, 70000)),
            (call(client.stub.ExecSync, cri.ExecSyncRequest(container_id=running), deadline=5), Kind.INVALID),
        ):
            with pytest.raises(Fault) as refused:
                await asked
            assert refused.value.kind is kind, str(refused.value)
