"""Exec, attach and port-forward through the shim, as a kubelet and an API server use them: URL, then SPDY."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.support.shim import RunningShim
from tests.support.spdy_client import ClientStream, UpgradeRefused, connected, exit_code

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]


async def exec_url(shim: RunningShim, container: str, *command: str, **streams: bool) -> str:
    request = cri.ExecRequest(container_id=container, cmd=command, **streams)
    return (await call(shim.runtime.Exec, request, deadline=10)).url


async def attach_url(shim: RunningShim, container: str, **streams: bool) -> str:
    request = cri.AttachRequest(container_id=container, **streams)
    return (await call(shim.runtime.Attach, request, deadline=10)).url


async def all_of(*streams: ClientStream) -> list[bytes]:
    """Everything that is read from streams at once."""
    async with asyncio.TaskGroup() as tasks:
        reading = [tasks.create_task(one.read_all()) for one in streams]
    return [one.result() for one in reading]


async def container(shim: RunningShim, *command: str, **more: Any) -> str:
    """A running container of a pod of its own."""
    config = shim.config()
    made = await shim.create(await shim.run(config), config, *command, more=cri.ContainerConfig(**more))
    await shim.start(made)
    return made


async def test_exec_gives_both_streams_the_exit_code_and_takes_input(shim: RunningShim) -> None:
    running = await container(shim, "sleep", "3600")
    script = "cat; echo err >&2; exit 7"
    url = await exec_url(shim, running, "sh", "-c", script, stdin=True, stdout=True, stderr=True)
    data = bytes(range(256)) * 2000
    async with connected(url) as client:
        streams = await client.open_all("error", "stdin", "stdout", "stderr")

        async def feed() -> None:
            for start in range(0, len(data), 32768):
                await streams["stdin"].write(data[start : start + 32768])
            await streams["stdin"].finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed())
            said = tasks.create_task(all_of(streams["stdout"], streams["stderr"], streams["error"]))
        out, err, status = said.result()
    assert (out == data, err, exit_code(status)) == (True, b"err\n", 7)
    with pytest.raises(UpgradeRefused) as twice:
        async with connected(url):
            pass
    assert twice.value.status == 404

    request = cri.ExecSyncRequest(container_id=running[:12], cmd=["sh", "-c", "echo out; echo err >&2; exit 3"])
    done = await call(shim.runtime.ExecSync, request, deadline=20)
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
    request = cri.ExecSyncRequest(container_id=running, cmd=["sleep", "4321"], timeout=1)
    with pytest.raises(Fault) as late:
        await call(shim.runtime.ExecSync, request, deadline=20)
    assert late.value.kind is Kind.TIMEOUT
    listed = await shim.said(running, "cat /proc/[0-9]*/cmdline | tr -d '\\0'")
    assert "sleep4321" not in listed


async def test_a_terminal_has_a_size_that_can_change(shim: RunningShim) -> None:
    running = await container(shim, "sleep", "3600")
    url = await exec_url(shim, running, "sh", stdin=True, stdout=True, tty=True)
    async with connected(url) as client:
        streams = await client.open_all("error", "stdin", "stdout", "resize")
        await streams["resize"].write(b'{"Width":101,"Height":33}')
        await streams["stdin"].write(b"sleep 0.5; stty size; exit 4\n")
        out, status = await all_of(streams["stdout"], streams["error"])
    assert b"33 101" in out
    assert exit_code(status) == 4


async def test_attach_reaches_the_process_itself(shim: RunningShim) -> None:
    running = await container(shim, "sh", "-c", "read line; echo got $line; exit 6", stdin=True, stdin_once=True)
    url = await attach_url(shim, running, stdin=True, stdout=True, stderr=True)
    async with connected(url) as client:
        streams = await client.open_all("error", "stdin", "stdout", "stderr")
        await streams["stdin"].write(b"hello\n")
        out, _ = await all_of(streams["stdout"], streams["stderr"])
    assert out == b"got hello\n"
    async with asyncio.timeout(20):
        while (status := await shim.status(running)).state != cri.CONTAINER_EXITED:
            await asyncio.sleep(0.05)
    assert status.exit_code == 6


async def test_ports_of_a_pod_are_reached_many_at_once_and_a_dead_one_is_told(shim: RunningShim) -> None:
    config = shim.config()
    sandbox = await shim.run(config)
    serving = await shim.create(sandbox, config, "nc", "-ll", "-p", "8080", "-e", "cat")
    await shim.start(serving)
    request = cri.PortForwardRequest(pod_sandbox_id=sandbox, port=[8080])
    url = (await call(shim.runtime.PortForward, request, deadline=10)).url
    async with connected(url, ("portforward.k8s.io",)) as client:

        async def pair(number: int, port: int) -> tuple[ClientStream, ClientStream]:
            headers = {"port": str(port), "requestID": str(number)}
            return (
                await client.open({**headers, "streamType": "error"}),
                await client.open({**headers, "streamType": "data"}),
            )

        async def echo(number: int) -> bytes:
            error, data = await pair(number, 8080)
            await data.write(b"ping %d" % number, fin=True)
            said, words = await all_of(data, error)
            assert words == b""
            return said

        for _ in range(50):
            if await echo(0) == b"ping 0":
                break
            await asyncio.sleep(0.1)
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(echo(number)) for number in range(1, 6)]
        assert [one.result() for one in asked] == [b"ping %d" % number for number in range(1, 6)]
        error, _ = await pair(9, 81)
        assert b"81" in await error.read_all()


async def test_what_cannot_be_a_session_is_refused_before_there_is_a_url(shim: RunningShim) -> None:
    config = shim.config()
    sandbox = await shim.run(config)
    ended = await shim.create(sandbox, config, "true")
    await shim.start(ended)
    running = await shim.create(sandbox, config, attempt=1)
    await shim.start(running)
    async with asyncio.timeout(20):
        while (await shim.status(ended)).state != cri.CONTAINER_EXITED:
            await asyncio.sleep(0.05)
    absurd = cri.PortForwardRequest(pod_sandbox_id=sandbox, port=[70000])
    for asked, kind in (
        (exec_url(shim, ended, "true", stdout=True), Kind.PRECONDITION),
        (attach_url(shim, ended, stdout=True), Kind.PRECONDITION),
        (exec_url(shim, "unknown", "true", stdout=True), Kind.NOT_FOUND),
        (exec_url(shim, running, "true", tty=True, stdout=True, stderr=True), Kind.INVALID),
        (exec_url(shim, running, "true"), Kind.INVALID),
        (exec_url(shim, running, stdout=True), Kind.INVALID),
        (attach_url(shim, running), Kind.INVALID),
        (call(shim.runtime.PortForward, cri.PortForwardRequest(pod_sandbox_id="no"), deadline=5), Kind.NOT_FOUND),
        (call(shim.runtime.PortForward, absurd, deadline=5), Kind.INVALID),
        (call(shim.runtime.ExecSync, cri.ExecSyncRequest(container_id=running), deadline=5), Kind.INVALID),
    ):
        with pytest.raises(Fault) as refused:
            await asked
        assert refused.value.kind is kind, str(refused.value)
