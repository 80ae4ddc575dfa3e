"""What a cell answers. What a double says and the agent does not would make tests of the controller lie."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from controller.sandboxes import told
from tests.contract.cell.conftest import Peer, Peers

pytestmark = pytest.mark.timeout(120)
NOBODY = "0" * 64


async def refused(work: Awaitable[object]) -> Kind:
    with pytest.raises(Fault) as raised:
        await work
    return raised.value.kind


async def test_ids_pass_the_gate_and_are_never_the_same(peers: Peers) -> None:
    async with peers() as peer:
        sandboxes = [await peer.sandbox() for _ in range(2)]
        made = [await peer.create(sandbox, "sleep", "100") for sandbox in sandboxes]
        for one in (*sandboxes, *made):
            assert told.fresh(one, "it", lambda _: False) == one
            assert len(one) == 64
        assert len({*sandboxes, *made}) == 4


async def test_a_sandbox_is_made_once_and_known_by_its_pod(peers: Peers) -> None:
    async with peers() as peer:
        config = peer.sandbox_config("one")
        sandbox = await peer.sandbox(config)
        assert await peer.sandbox(config) == sandbox
        other = await peer.sandbox(peer.sandbox_config("two"))
        wanted = cri.PodSandboxFilter(label_selector={"io.kubernetes.pod.uid": "one"})
        listed = await call(peer.runtime.ListPodSandbox, cri.ListPodSandboxRequest(filter=wanted), deadline=10)
        assert [one.id for one in listed.items] == [sandbox]
        everything = await call(peer.runtime.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=10)
        assert {one.id for one in everything.items} == {sandbox, other}
        asked = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
        status = (await call(peer.runtime.PodSandboxStatus, asked, deadline=10)).status
        assert told.sandbox(status, sandbox).state == cri.SANDBOX_READY
        assert status.metadata.uid == "one"


async def test_what_is_not_there_is_not_found(peers: Peers) -> None:
    async with peers() as peer:
        runtime = peer.runtime
        status = cri.PodSandboxStatusRequest(pod_sandbox_id=NOBODY)
        assert await refused(call(runtime.PodSandboxStatus, status, deadline=10)) is Kind.NOT_FOUND
        assert await refused(peer.status(NOBODY)) is Kind.NOT_FOUND
        assert await refused(peer.start(NOBODY)) is Kind.NOT_FOUND
        assert await refused(peer.create(NOBODY, "true")) is Kind.NOT_FOUND
        asked = cri.ExecSyncRequest(container_id=NOBODY, cmd=["true"], timeout=5)
        assert await refused(call(runtime.ExecSync, asked, deadline=10)) is Kind.NOT_FOUND
        assert await refused(_first_chunk(peer, NOBODY)) is Kind.NOT_FOUND
        await peer.stop(NOBODY)  # it is stopped
        await call(runtime.RemoveContainer, cri.RemoveContainerRequest(container_id=NOBODY), deadline=10)
        read = await call(peer.cell.ReadFile, wire.ReadFileRequest(path="/not/there", limit=10), deadline=10)
        assert read.data == b""


async def test_a_container_is_created_started_and_ended_once(peers: Peers) -> None:
    async with peers() as peer:
        sandbox = await peer.sandbox()
        container = await peer.create(sandbox, "sh", "-c", "sleep 0.2; exit 7")
        assert (await peer.status(container)).state == cri.CONTAINER_CREATED
        assert await refused(peer.create(sandbox, "true")) is Kind.EXISTS
        await peer.start(container)
        assert await refused(peer.start(container)) is Kind.PRECONDITION
        ended = told.container(await peer.exited(container), container)
        assert (ended.exit_code, ended.reason) == (7, "Error")
        assert 0 < ended.created_at <= ended.started_at <= ended.finished_at
        assert await refused(peer.start(container)) is Kind.PRECONDITION
        await peer.stop(container)

        listed = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox))
        found = told.containers(await call(peer.runtime.ListContainers, listed, deadline=10), sandbox)
        assert [(one.id, one.name, one.attempt) for one in found] == [(container, "main", 0)]
        await call(peer.runtime.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=10)
        assert await refused(peer.status(container)) is Kind.NOT_FOUND


async def test_a_container_that_is_asked_for_again_under_its_id_is_the_same_and_what_it_carries_goes_with_it(
    peers: Peers, tmp_path: Path
) -> None:
    async with peers() as peer:
        sandbox = await peer.sandbox()
        path = str(tmp_path / "carried" / "one" / "record")

        def wanted(name: str, carried: bytes = b"signed") -> wire.MakeContainerRequest:
            config = cri.ContainerConfig(
                metadata=cri.ContainerMetadata(name="main"),
                image=cri.ImageSpec(image=peer.image),
                command=["sleep", "100"],
            )
            asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config)
            return wire.MakeContainerRequest(container_id=name, asked=asked, carried=carried, carried_path=path)

        for _ in range(2):
            made = (await call(peer.cell.MakeContainer, wanted("ab" * 32), deadline=30)).status
            assert told.container(made, "ab" * 32).state == cri.CONTAINER_CREATED
            assert made.created_at
        listed = await call(peer.runtime.ListContainers, cri.ListContainersRequest(), deadline=10)
        assert [one.id for one in listed.containers] == ["ab" * 32]
        asked = wire.ReadFileRequest(path=path, limit=1000)
        assert (await call(peer.cell.ReadFile, asked, deadline=10)).data == b"signed"

        another = call(peer.cell.MakeContainer, wanted("cd" * 32, b"another"), deadline=30)
        assert await refused(another) is Kind.EXISTS
        assert (await call(peer.cell.ReadFile, asked, deadline=10)).data == b"signed"
        await peer.start("ab" * 32)

        await call(peer.runtime.RemoveContainer, cri.RemoveContainerRequest(container_id="ab" * 32), deadline=30)
        assert (await call(peer.cell.ReadFile, asked, deadline=10)).data == b"", "it is of no use any more"


async def test_a_command_that_is_not_there_does_not_start(peers: Peers) -> None:
    async with peers() as peer:
        container = await peer.create(await peer.sandbox(), "/not/there")
        with pytest.raises(Fault):
            await peer.start(container)
        status = await peer.status(container)
        assert (status.state, status.exit_code, status.reason) == (cri.CONTAINER_EXITED, 128, "StartError")


async def test_each_change_is_an_event_with_what_became_of_the_container(peers: Peers) -> None:
    async with peers() as peer:
        sandbox = await peer.sandbox()
        states: list[int] = []
        with translate_errors():
            async with asyncio.timeout(30), peer.runtime.GetContainerEvents.open() as stream:
                await stream.send_message(cri.GetEventsRequest(), end=True)
                await stream.recv_initial_metadata()
                container = await peer.create(sandbox, "sh", "-c", "sleep 0.2")
                await peer.start(container)
                async for event in stream:
                    assert event.pod_sandbox_status.id == sandbox
                    told.event(event, sandbox, lambda name: sandbox if name == container else None)
                    states += [one.state for one in event.containers_statuses if one.id == container]
                    if cri.CONTAINER_EXITED in states:
                        await stream.cancel()
                        break
        assert list(dict.fromkeys(states)) == [cri.CONTAINER_CREATED, cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED]


async def test_a_log_comes_from_a_position_on_to_its_end(peers: Peers) -> None:
    async with peers() as peer:
        container = await peer.create(await peer.sandbox(), "sh", "-c", "echo one; sleep 0.2; echo two")
        await peer.start(container)
        whole = await _log(peer, container, 0)
        assert [line.split(b" ", 3)[3] for line in whole.splitlines()] == [b"one", b"two"]
        assert await _log(peer, container, 5) == whole[5:]


async def test_a_command_in_a_container_says_and_ends(peers: Peers) -> None:
    async with peers() as peer:
        container = await peer.create(await peer.sandbox(), "sleep", "100")
        await peer.start(container)
        asked = cri.ExecSyncRequest(
            container_id=container, cmd=["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=9
        )
        said = await call(peer.runtime.ExecSync, asked, deadline=20)
        assert (said.stdout, said.stderr, said.exit_code) == (b"out\n", b"err\n", 3)


async def test_of_a_file_comes_its_end_no_longer_than_was_asked_for(peers: Peers, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    async with peers() as peer:
        for limit, end in ((3, b"789"), (100, b"0123456789")):
            asked = wire.ReadFileRequest(path=str(tmp_path / "file"), limit=limit)
            assert (await call(peer.cell.ReadFile, asked, deadline=10)).data == end


async def _log(peer: Peer, container: str, offset: int) -> bytes:
    request = wire.LogsRequest(container_id=container, offset=offset, follow=True)
    data = bytearray()
    async with asyncio.timeout(30), peer.cell.Logs.open() as stream:
        await stream.send_message(request, end=True)
        async for chunk in stream:
            assert chunk.offset == offset + len(data)
            data += chunk.data
            if chunk.end:
                return bytes(data)
    raise AssertionError("it ended before its end")


async def _first_chunk(peer: Peer, container: str) -> wire.LogChunk | None:
    with translate_errors():
        async with asyncio.timeout(10), peer.cell.Logs.open() as stream:
            await stream.send_message(wire.LogsRequest(container_id=container), end=True)
            return await stream.recv_message()
