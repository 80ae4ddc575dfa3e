"""Sessions over the cell's gRPC calls are sessions like any other."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from cellwire.cell.v1.cell_grpc import CellBase
from cellwire.faults import Fault
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import prepared
from cellwire.stream import streaming_server
from cellwire.stream.remote import RemoteBackend
from cellwire.stream.service import SessionService
from cellwire.stream.session import Exited, Output, SessionRequest, Stderr, Stdout
from tests.support.sessions import BLOCK, MemoryBackend
from tests.support.spdy_client import connected, exit_code


class Cell(CellBase):
    """Only the calls that carry sessions."""

    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions

    async def Exec(self, stream: Any) -> None:
        await self._sessions.Exec(stream)

    async def Attach(self, stream: Any) -> None:
        await self._sessions.Attach(stream)

    async def PortForward(self, stream: Any) -> None:
        await self._sessions.PortForward(stream)

    async def _none(self, stream: Any) -> None:
        raise NotImplementedError

    Report = Logs = TrimLog = PutFiles = ReadFile = DiskUsage = MountFolder = Services = DialWorker = MakeContainer = (
        _none
    )


@asynccontextmanager
async def remote(
    memory: MemoryBackend, folder: Path, kind: type[Cell] = Cell
) -> AsyncGenerator[tuple[RemoteBackend, Channel]]:
    cell = prepared([kind(SessionService(memory))], details=True)
    path = str(folder / "cell.sock")
    await cell.start(path=path)
    channel = MendedChannel(CELL, path=path)
    try:
        yield RemoteBackend(lambda: channel), channel
    finally:
        channel.close()
        cell.close()
        await cell.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_output_errors_and_exit_codes_cross_the_wire(tmp_path: Path) -> None:
    memory = MemoryBackend()
    async with remote(memory, tmp_path) as (backend, _):
        async with backend.exec(SessionRequest("c", ("complain", "130"))) as session:
            assert [said async for said in session.output()] == [Stderr(b"oh dear"), Exited(130)]
        async with backend.attach(SessionRequest("c", stdin=True)) as session:
            await session.write_stdin(b"ahoy")
            await session.close_stdin()
            await session.close_stdin()
            assert [said async for said in session.output()] == [Stdout(b"ahoy"), Exited(0)]
        await until(lambda: memory.open == 0)
        request = memory.sessions[0].request
        assert request == SessionRequest("c", ("complain", "130"))


class Refusing(Cell):
    """A cell whose calls end with a status before they begin."""

    async def Exec(self, stream: Any) -> None:
        await stream.recv_message()
        raise GRPCError(Status.RESOURCE_EXHAUSTED, "this cell: it has too many sessions")

    Attach = PortForward = Exec


async def test_what_a_cell_answers_in_place_of_a_session_keeps_its_words(tmp_path: Path) -> None:
    words = "this cell: it has too many sessions"
    async with remote(MemoryBackend(), tmp_path, Refusing) as (backend, channel):
        with pytest.raises(Fault, match=words):
            await output_of(backend, SessionRequest("c", ("cat",)))
        with pytest.raises(Fault, match=words):
            await backend.port_forward("s", 1).__aenter__()
        async with backend.exec(SessionRequest("c", ("cat",), stdin=True)) as session:
            await channel_is_told(channel)
            with pytest.raises(Fault, match=words):
                await session.write_stdin(b"x" * 100)
        assert cancellations() == 0


async def channel_is_told(channel: Channel) -> None:
    """A call after another is answered after it."""
    with pytest.raises(Fault):
        await output_of(RemoteBackend(lambda: channel), SessionRequest("c", ("cat",)))


def cancellations() -> int:
    """Requests to cancel that are left on this task."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def output_of(backend: RemoteBackend, request: SessionRequest) -> list[Output]:
    async with backend.exec(request) as session:
        return [said async for said in session.output()]


@pytest.mark.parametrize(
    ("container", "word", "sentence"),
    [
        ("gone", "cat", "container gone: there is none; list the containers"),
        ("c", "break", "container c: it vanished; look for it"),
    ],
)
async def test_faults_keep_their_words(tmp_path: Path, container: str, word: str, sentence: str) -> None:
    async with remote(MemoryBackend(), tmp_path) as (backend, _):
        with pytest.raises(Fault) as raised:
            await output_of(backend, SessionRequest(container, (word,)))
        assert str(raised.value) == sentence
        with pytest.raises(Fault) as raised:
            await backend.port_forward("s", 1).__aenter__()
        assert str(raised.value) == "port 1 of sandbox s: the connection was refused"
        assert cancellations() == 0


async def test_window_sizes_do_not_break_into_input_that_waits(tmp_path: Path) -> None:
    memory = MemoryBackend()
    async with remote(memory, tmp_path) as (backend, _):
        async with backend.exec(SessionRequest("c", ("wait",), tty=True, stdin=True, stderr=False)) as session:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(session.write_stdin(BLOCK * 512))  # more than its window
                await until(lambda: bool(memory.sessions) and memory.sessions[0].written > 0)
                await asyncio.sleep(0.2)  # until the window is full
                sizing = tasks.create_task(session.resize(80, 24))
                await asyncio.sleep(0.05)
                assert not writing.done()
                assert not sizing.done()
                memory.sessions[0].stdin.discard()  # the command reads on, quickly
            await until(lambda: memory.sessions[0].sizes == [(80, 24)])
            await until(lambda: memory.sessions[0].written == len(BLOCK) * 512)


async def test_leaving_a_session_ends_it_at_the_cell(tmp_path: Path) -> None:
    memory = MemoryBackend()
    async with remote(memory, tmp_path) as (backend, _):
        async with backend.exec(SessionRequest("c", ("hang",))):
            await until(lambda: memory.open == 1)
        await until(lambda: memory.open == 0)
        async with backend.port_forward("s", 19) as tunnel:
            async for data in tunnel.received():
                assert data == BLOCK
                break
        await until(lambda: memory.open == 0)


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "closed"])
async def test_a_lost_connection_is_a_fault_and_leaves_no_cancellation_behind(tmp_path: Path, lost: bool) -> None:
    memory = MemoryBackend()
    async with remote(memory, tmp_path) as (backend, channel):

        def end() -> None:
            protocol: Any = channel._protocol
            if lost:
                protocol.connection._transport.abort()
            else:
                channel.close()

        asyncio.get_running_loop().call_later(0.1, end)
        with pytest.raises(Fault):
            await output_of(backend, SessionRequest("c", ("hang",)))
        assert cancellations() == 0
        await until(lambda: memory.open == 0)


async def test_a_client_is_told_that_the_cell_was_lost(tmp_path: Path) -> None:
    memory = MemoryBackend()
    async with (
        remote(memory, tmp_path) as (backend, channel),
        streaming_server.running(backend) as streaming,
        connected(streaming.exec_url(SessionRequest("c", ("hang",), stdin=True))) as client,
    ):
        streams = await client.open_all("error", "stdin", "stdout", "stderr")
        await until(lambda: memory.open == 1)
        channel.close()
        async with asyncio.timeout(20):
            assert b"the connection" in await streams["error"].read_all()


async def test_a_hundred_megabytes_go_from_a_spdy_client_through_a_cell_and_back(tmp_path: Path) -> None:
    sent, came = hashlib.sha256(), hashlib.sha256()
    request = SessionRequest("c", ("cat",), stdin=True)
    async with (
        remote(MemoryBackend(), tmp_path) as (backend, _),
        streaming_server.running(backend) as streaming,
        connected(streaming.exec_url(request)) as client,
    ):
        streams = await client.open_all("error", "stdin", "stdout", "stderr")

        async def send() -> None:
            for _ in range(100):
                data = os.urandom(1 << 20)
                sent.update(data)
                await streams["stdin"].write(data)
            await streams["stdin"].finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            while data := await streams["stdout"].read():
                came.update(data)
        assert exit_code(await streams["error"].read_all()) == 0
    assert sent.digest() == came.digest()


async def test_a_slow_client_holds_the_command_in_the_cell(tmp_path: Path) -> None:
    memory = MemoryBackend()
    async with (
        remote(memory, tmp_path) as (backend, _),
        streaming_server.running(backend) as streaming,
        connected(streaming.exec_url(SessionRequest("c", ("blocks", "16000"))), limit=64 * 1024) as client,
    ):
        streams = await client.open_all("error", "stdout", "stderr")
        for _ in range(20):
            await asyncio.sleep(0.05)
            await streams["stdout"].read()
        # The window of the call (4 MiB) and the sockets on both sides of it may fill.
        assert memory.sessions[0].said < 48 << 20
        assert memory.open == 1


async def test_a_port_is_forwarded_through_a_cell(tmp_path: Path) -> None:
    async with (
        remote(MemoryBackend(), tmp_path) as (backend, _),
        streaming_server.running(backend) as streaming,
        connected(streaming.port_forward_url("s", []), ["portforward.k8s.io"]) as client,
    ):
        headers = {"port": "9", "requestID": "0"}
        error = await client.open({"streamType": "error", **headers})
        data = await client.open({"streamType": "data", **headers})
        for _ in range(200):
            await data.write(BLOCK)
        await data.finish()
        assert await data.read_all() == str(200 * len(BLOCK)).encode()
        assert await error.read_all() == b""
