"""A short answer is one write, and nothing of an answer waits for what its handler waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import FROM_CELL, STRANGER
from cellwire.rpc.serve import prepared


class WatchedTransport:
    """A transport that keeps the size of each write."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.sizes: list[int] = []

    def write(self, data: bytes) -> None:
        self.sizes.append(len(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def watched(stream: Any) -> WatchedTransport:
    """The writes of a call's connection from now on."""
    written = WatchedTransport(stream._stream._transport)
    stream._stream._transport = stream._stream.connection._transport = written
    return written


@pytest.fixture
async def stub(tmp_path: Path, told: Any) -> AsyncIterator[cell_grpc.CellStub]:
    server = prepared([told], details=True, limits=STRANGER)
    path = str(tmp_path / "s")
    await server.start(path=path)
    channel = MendedChannel(FROM_CELL, path=path)
    yield cell_grpc.CellStub(channel)
    channel.close()
    server.close()
    await server.wait_closed()


async def test_a_short_answer_is_one_write(stub: cell_grpc.CellStub, told: Any) -> None:
    transports: list[WatchedTransport] = []

    async def answered(stream: Any) -> None:
        await stream.recv_message()
        transports.append(watched(stream))
        await stream.send_message(wire.ReadFileReply(data=b"all of it"))

    told.unary = answered
    reply = await call(stub.ReadFile, wire.ReadFileRequest(path="x"), deadline=10)
    assert reply.data == b"all of it"
    assert len(transports[0].sizes) == 1


async def test_a_message_is_there_while_its_handler_waits(stub: cell_grpc.CellStub, told: Any) -> None:
    heard = asyncio.Event()

    async def said(stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(wire.LogChunk(data=b"first"))
        await heard.wait()
        await stream.send_message(wire.LogChunk(data=b"last"))

    told.stream = said
    async with asyncio.timeout(60), stub.Logs.open() as stream:
        await stream.send_message(wire.LogsRequest(container_id="c"), end=True)
        first = await stream.recv_message()
        heard.set()
        last = await stream.recv_message()
    assert first is not None
    assert last is not None
    assert (first.data, last.data) == (b"first", b"last")


async def test_what_a_handler_says_without_a_pause_is_not_gathered(stub: cell_grpc.CellStub, told: Any) -> None:
    """It would be kept for a reader that does not read, however much it is."""
    sizes: list[int] = []

    async def said(stream: Any) -> None:
        await stream.recv_message()
        written = watched(stream)
        for _ in range(5):
            await stream.send_message(wire.LogChunk(data=bytes(1000)))
        sizes.extend(written.sizes)

    told.stream = said
    async with asyncio.timeout(60), stub.Logs.open() as stream:
        await stream.send_message(wire.LogsRequest(container_id="c"), end=True)
        assert [len(chunk.data) async for chunk in stream] == [1000] * 5
    assert len(sizes) == 4
    assert sum(sizes) > 5000
