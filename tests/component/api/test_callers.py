"""Who has shown no token holds a few places of the API's port for a while; who has is bounded no further there."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from cellwire.rpc.door import listening_at
from cellwire.rpc.guests import Places
from controller.api import callers
from tests.support.authorities import FileAuthority
from tests.support.pods_api import world

PLACES = Places(total=8, address=4, burst=float("inf"), vain_burst=float("inf"))
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Greeting(asyncio.Protocol):
    """Says "hello", and that whoever is there is known where they say "token"."""

    def __init__(self, those: callers.Callers) -> None:
        self._those = those

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        self._those.known(self._transport)
        self._transport.write(data)


class Port:
    """An open port, and those who dial it."""

    def __init__(self, number: int, client: ssl.SSLContext, dialled: AsyncExitStack) -> None:
        self._number = number
        self._client = client
        self._dialled = dialled

    async def dial(self, *, silent: bool = False) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._number, ssl=None if silent else self._client)
        self._dialled.callback(_leave, writer)
        return reader, writer

    async def greeted(self) -> Streams:
        reader, writer = await self.dial()
        assert await reader.readexactly(5) == b"hello"
        return reader, writer


def _leave(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    writer.close()


async def answered(streams: Streams) -> bool:
    """Whether who is known is still there."""
    reader, writer = streams
    writer.write(b"token")
    return await reader.read(5) == b"token"


@asynccontextmanager
async def port(folder: Path) -> AsyncGenerator[Port]:
    authority = FileAuthority(folder / "authority")
    certificate, key = authority.sign("127.0.0.1")
    context, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(certificate, key)
    those, listening = callers.Callers(PLACES), await listening_at("127.0.0.1", 0)
    async with AsyncExitStack() as dialled, asyncio.TaskGroup() as tasks:
        for each in listening:
            dialled.callback(each.close)
        accepting = tasks.create_task(those.accept(listening, context, lambda: Greeting(those)))
        yield Port(listening[0].getsockname()[1], client, dialled)
        accepting.cancel()


async def test_silent_ones_make_room_and_who_is_known_takes_none(tmp_path: Path) -> None:
    async with port(tmp_path) as there:
        known = [await there.greeted() for _ in range(3)]
        assert all([await answered(one) for one in known])
        for _ in range(3 * PLACES.address):
            await there.dial(silent=True)
        known += [await there.greeted() for _ in range(2)]
        assert all([await answered(one) for one in known])


async def test_a_crowd_waits_for_its_turn(tmp_path: Path) -> None:
    async def one_of_many() -> bool:
        return await answered(await there.greeted())

    async with port(tmp_path) as there, asyncio.TaskGroup() as crowd:
        asked = [crowd.create_task(one_of_many()) for _ in range(5 * PLACES.address)]
    assert all(one.result() for one in asked)


async def test_nobody_is_looked_at_while_nobody_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    sweep = callers.Callers._sweep

    def counted(those: callers.Callers, now: float) -> None:
        nonlocal looks
        looks += 1
        sweep(those, now)

    monkeypatch.setattr(callers, "LOOK", 1e-9)
    monkeypatch.setattr(callers.Callers, "_sweep", counted)
    async with port(tmp_path) as there:
        for _ in range(100):
            await asyncio.sleep(0)
        assert looks == 0
        await there.greeted()
        async with asyncio.timeout(20):
            while not looks:
                await asyncio.sleep(0.01)


async def test_who_shows_no_token_for_long_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "LIFE_SECONDS", 0.5)
    async with port(tmp_path) as there:
        known, stranger, silent = await there.greeted(), await there.greeted(), await there.dial(silent=True)
        assert await answered(known)
        for reader, _ in (stranger, silent):
            assert await reader.read() == b""
        assert await answered(known)


async def test_what_is_no_http_is_told_in_a_line_and_a_mistake_of_ours_with_its_place(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with world(tmp_path) as it:
        where = await it.ok("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
        client = ssl.create_default_context(cadata=it.authority)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(where.rpartition(":")[2]), ssl=client)
        writer.write(b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert not caplog.records
    server = callers.Callers(PLACES).logger
    server.exception("of %s", "somebody", exc_info=BadHttpMessage("x\ny"))
    assert not caplog.records
    with caplog.at_level(logging.ERROR):
        server.exception("of %s", "somebody", exc_info=ValueError("x"))
    assert [record.exc_info is not None for record in caplog.records] == [True]
