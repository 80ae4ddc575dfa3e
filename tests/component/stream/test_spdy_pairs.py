"""Pairs of streams of a forwarded port over SPDY/3.1: each ends by itself."""

from __future__ import annotations

import pytest

from cellwire.stream import streaming_server
from tests.support.sessions import MemoryBackend
from tests.support.spdy_client import connected
from tests.support.spdy_streams import FORWARD, pair
from tests.support.waiting import until


async def test_each_half_of_a_forwarded_connection_ends_by_itself() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.port_forward_url("s", []), FORWARD) as client:
            data, _ = await pair(client, 17, 0)
            assert await data.read_all() == b"word", "the pod has ended its half"
            await data.write(b"more")
            await until(lambda: backend.tunnels[0].heard == 4)
            assert not backend.tunnels[0].ended
            await data.write(b" and the end", fin=True)
            await until(lambda: backend.open == 0)
            assert backend.tunnels[0].heard == 16


async def test_a_port_that_refuses_hurts_no_other_pair() -> None:
    backend = MemoryBackend()
    async with streaming_server.running(backend) as streaming:
        async with connected(streaming.port_forward_url("s", []), FORWARD) as client:
            echo, quiet = await pair(client, 7, 0)
            refused, said = await pair(client, 1, 1)
            assert b"the connection was refused" in await said.read_all()
            assert (refused.reset, said.reset) == (5, 5)
            await echo.write(b"hello", fin=True)
            assert await echo.read_all() == b"hello"
            assert await quiet.read_all() == b""
            for number in range(100):
                data, _ = await pair(client, 9, number + 2)
                await data.write(b"abc", fin=True)
                assert await data.read_all() == b"3"
        await until(lambda: backend.open == 0)


async def test_a_client_that_resets_a_pair_ends_it() -> None:
    backend = MemoryBackend()
    async with (
        streaming_server.running(backend) as streaming,
        connected(streaming.port_forward_url("s", []), FORWARD) as client,
    ):
        data, error = await pair(client, 7, 0)
        await until(lambda: backend.open == 1)
        await data.abort()
        await until(lambda: backend.open == 0)
        assert await error.read_all() == b""
        other, _ = await pair(client, 7, 1)
        await other.write(b"x", fin=True)
        assert await other.read_all() == b"x"


async def test_bad_pairs_are_refused_and_lonely_ones_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellwire.stream.spdy_session.CREATION", 0.2)
    async with (
        streaming_server.running(MemoryBackend()) as streaming,
        connected(streaming.port_forward_url("s", []), FORWARD) as client,
    ):
        for headers in ({"streamType": "data", "port": "0"}, {"streamType": "x", "port": "7"}, {"port": "70000"}):
            bad = await client.open(headers)
            assert await bad.read_all() == b""
            assert bad.reset == 3
        lonely = await client.open({"streamType": "error", "port": "7", "requestID": "9"})
        assert b"timed out" in await lonely.read_all()
