"""Flow control over SPDY/3.1: much data, slow peers, many streams."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from cellwire.stream import streaming_server
from cellwire.stream.spdy_link import MOST_STREAMS
from tests.support.sessions import MemoryBackend
from tests.support.spdy_client import connected, exit_code
from tests.support.spdy_streams import FORWARD, MIB, OUTPUTS, ask, command, fill, pair
from tests.support.waiting import until


async def test_a_hundred_megabytes_go_through_exec_and_back() -> None:
    sent, came = hashlib.sha256(), hashlib.sha256()
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        connected(streaming.exec_url(command("cat", stdin=True))) as client,
    ):
        streams = await client.open_all("error", "stdin", "stdout", "stderr")

        async def send() -> None:
            for _ in range(100):
                data = os.urandom(MIB)
                sent.update(data)
                await streams["stdin"].write(data)
            await streams["stdin"].finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            while data := await streams["stdout"].read():
                came.update(data)
        assert exit_code(await streams["error"].read_all()) == 0
    assert sent.digest() == came.digest()


async def test_a_hundred_megabytes_go_through_a_forwarded_port_and_back() -> None:
    sent, came = hashlib.sha256(), hashlib.sha256()
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        connected(streaming.port_forward_url("s", []), FORWARD) as client,
    ):
        data, error = await pair(client, 7, 0)

        async def send() -> None:
            for _ in range(100):
                piece = os.urandom(MIB)
                sent.update(piece)
                await data.write(piece)
            await data.finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            while piece := await data.read():
                came.update(piece)
        assert await error.read_all() == b""
    assert sent.digest() == came.digest()


async def test_a_slow_reader_holds_the_command() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.exec_url(command("blocks", "16000")), limit=64 * 1024) as client:
            streams = await client.open_all(*OUTPUTS)
            for _ in range(20):  # of a command that has a gigabyte to say
                await asyncio.sleep(0.05)
                await streams["stdout"].read()
            assert backend.sessions[0].said < 40 * MIB, "more than fits between the command and its reader"
            assert backend.open == 1
        await until(lambda: backend.open == 0)


async def test_a_slow_reader_holds_the_port() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.port_forward_url("s", []), FORWARD, limit=64 * 1024) as client:
            data, _ = await pair(client, 19, 0)
            for _ in range(20):
                await asyncio.sleep(0.05)
                await data.read()
            assert backend.tunnels[0].said < 40 * MIB
        await until(lambda: backend.open == 0)


async def test_a_slow_writer_to_a_port_is_held() -> None:
    backend = MemoryBackend()
    async with (
        streaming_server.running(backend) as streaming,
        connected(streaming.port_forward_url("s", []), FORWARD) as client,
    ):
        data, _ = await pair(client, 19, 0)
        assert await fill(data) < 40 * MIB
        assert backend.tunnels[0].heard < 2 * MIB


async def test_many_busy_pairs_at_a_slow_client_keep_little_and_its_pings_are_answered() -> None:
    backend = MemoryBackend()
    async with (
        streaming_server.running(backend) as streaming,
        connected(streaming.port_forward_url("s", []), FORWARD, limit=64 * 1024) as client,
        asyncio.timeout(20),
    ):
        pairs = [(await pair(client, 20, number))[0] for number in range(100)]
        for data in pairs:
            await data.write(b"go")
        await until(lambda: all(tunnel.said for tunnel in backend.tunnels))
        await asyncio.sleep(0.5)
        assert sum(tunnel.said for tunnel in backend.tunnels) < 40 * MIB
        for _ in range(100):
            await client.ping(1)
        assert not client.closed.is_set()
        async with asyncio.TaskGroup() as reading:
            drains = [reading.create_task(data.read_all()) for data in pairs]
            for _ in range(100):
                assert await client.pongs.get() == 1
            for drain in drains:
                drain.cancel()


async def test_a_client_that_asks_for_answers_and_reads_none_is_hung_up_on() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.exec_url(command("blocks", "16000")), limit=64 * 1024) as client:
            await client.open_all(*OUTPUTS)
            with pytest.raises(ConnectionError):
                await ask(client, 64 * MIB)
        await until(lambda: backend.open == 0)


async def test_streams_beyond_the_limit_are_refused_and_the_others_go_on() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.port_forward_url("s", []), FORWARD) as client:
            pairs = [await pair(client, 7, number) for number in range(MOST_STREAMS // 2)]
            beyond = await client.open({"streamType": "error", "port": "7", "requestID": "beyond"})
            assert beyond.reset == 3
            assert backend.open == len(pairs)
            for data, _ in pairs:
                await data.write(b"x", fin=True)
            for data, error in pairs:
                assert await data.read_all() == b"x"
                await error.finish()
            data, _ = await pair(client, 7, len(pairs))
            await data.write(b"y", fin=True)
            assert await data.read_all() == b"y"
        await until(lambda: backend.open == 0)


async def test_a_slow_writer_of_input_is_held_by_the_command() -> None:
    backend = MemoryBackend()
    async with (
        streaming_server.running(backend) as streaming,
        connected(streaming.exec_url(command("hang", stdin=True))) as client,
    ):
        streams = await client.open_all("error", "stdin", "stdout", "stderr")
        assert await fill(streams["stdin"]) < 20 * MIB
        assert backend.sessions[0].written < 2 * MIB


async def test_two_hundred_sessions_at_once() -> None:
    backend = MemoryBackend()

    async def one(number: int) -> None:
        async with connected(streaming.exec_url(command("cat", stdin=True))) as client:
            streams = await client.open_all("error", "stdin", "stdout", "stderr")
            said = f"session {number} ".encode() * 10_000
            await streams["stdin"].write(said, fin=True)
            assert await streams["stdout"].read_all() == said
            assert exit_code(await streams["error"].read_all()) == 0

    async with streaming_server.running(backend) as streaming:
        async with asyncio.TaskGroup() as tasks:
            for number in range(200):
                tasks.create_task(one(number))
        await until(lambda: backend.open == 0)
