"""Calls that end badly leave their task as it was. The first tests show the fault in grpclib that this is against."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import prepared
from cellwire.rpc.written import Written


async def hang(stream: Any) -> None:
    await stream.recv_message()
    await asyncio.sleep(3600)


def count() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@pytest.fixture
async def socket(tmp_path: Path, told: Any) -> AsyncIterator[str]:
    server = prepared([told], details=True)
    path = str(tmp_path / "s")
    await server.start(path=path)
    yield path
    server.close()
    await server.wait_closed()


@pytest.fixture
async def channel(socket: str) -> AsyncIterator[Channel]:
    made = MendedChannel(CELL, path=socket)
    yield made
    made.close()


async def test_grpclib_alone_leaves_its_task_asked_to_cancel(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A server of grpclib would say that the deadline is over, now and then before the client sees it.
        with closing(writer):
            await reader.read()

    path = str(tmp_path / "silent")
    async with await asyncio.start_unix_server(silent, path), Channel(path=path) as channel:
        with pytest.raises(asyncio.TimeoutError):
            await cell_grpc.CellStub(channel).ReadFile(wire.ReadFileRequest(), timeout=0.05)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 1, "grpclib was mended upstream: much of rpc/grpclib_patches.py can go"
    task.uncancel()


async def test_an_expired_call_is_a_timeout_and_leaves_no_trace(channel: Channel, told: Any) -> None:
    told.unary = hang
    with pytest.raises(Fault) as told_of:
        await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=0.05)
    assert told_of.value.kind is Kind.TIMEOUT
    assert "ReadFile" in str(told_of.value)
    assert count() == 0


async def test_a_broken_connection_is_unreachable_and_leaves_no_trace(channel: Channel, socket: str, told: Any) -> None:
    async def break_off(stream: Any) -> None:
        await stream.recv_message()
        stream._stream._transport.abort()
        await asyncio.sleep(3600)

    told.unary = break_off
    for _ in range(3):
        with pytest.raises(Fault) as told_of:
            await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=5)
        assert told_of.value.kind is Kind.UNREACHABLE
        assert count() == 0


@pytest.mark.parametrize("lost", [True, False], ids=["connection lost", "deadline over"])
async def test_a_handler_that_fails_as_its_call_ends_is_no_traceback(
    channel: Channel, told: Any, caplog: pytest.LogCaptureFixture, lost: bool
) -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def fail_at_the_end(stream: Any) -> None:
        await stream.recv_message()
        begun.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(3600))
                if lost:
                    stream._stream._transport.abort()
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError as error:
                    raise Fault(Kind.UNAVAILABLE, "lead /leader", "its lease may have run out meanwhile") from error
        finally:
            over.set()

    told.unary = fail_at_the_end
    with caplog.at_level(logging.INFO), pytest.raises(Fault):
        await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=5 if lost else 0.2)
    await over.wait()
    await asyncio.sleep(0)
    assert begun.is_set()
    assert not [one.getMessage() for one in caplog.records if one.exc_info], caplog.text


async def test_a_timeout_around_retries_still_ends_in_a_timeout(channel: Channel, told: Any) -> None:
    told.unary = hang

    async def retry_for_ever() -> None:
        while True:
            try:
                await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=0.03)
            except Fault:
                await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await retry_for_ever()


async def test_a_cancelled_caller_is_cancelled(channel: Channel, told: Any) -> None:
    told.unary = hang
    task = asyncio.get_running_loop().create_task(
        call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=5)
    )
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_caller_cancelled_as_the_connection_breaks_is_cancelled(socket: str, told: Any) -> None:
    told.unary = hang
    channel = MendedChannel(CELL, path=socket)

    async def outer() -> None:
        async with asyncio.timeout(5):
            await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=5)

    task = asyncio.get_running_loop().create_task(outer())
    await asyncio.sleep(0.05)
    channel.close()  # both before the task runs again
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_on_the_way_out_does_not_hide_that_the_caller_was_cancelled(channel: Channel, told: Any) -> None:
    told.stream = hang

    async def keeper() -> None:
        with translate_errors():
            async with cell_grpc.CellStub(channel).Logs.open() as stream:
                await stream.send_message(wire.LogsRequest(), end=True)
                try:
                    await stream.recv_message()
                finally:
                    raise OSError("the disk is full")

    task = asyncio.get_running_loop().create_task(keeper())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_connection_told_twice_of_its_end_wakes_a_call_once(socket: str, told: Any) -> None:
    told.unary = hang
    channel = MendedChannel(CELL, path=socket)

    async def caller() -> int:
        with pytest.raises(Fault):
            await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=5)
        return count()

    task = asyncio.get_running_loop().create_task(caller())
    await asyncio.sleep(0.05)
    protocol = channel._protocol
    assert protocol is not None
    protocol.processor.close("a goodbye")
    protocol.connection_lost(None)
    assert await task == 0


async def test_a_call_that_is_reset_and_then_lost_ends_though_nobody_reads_its_last_words(
    tmp_path: Path, told: Any
) -> None:
    begun, reset = asyncio.Event(), asyncio.Event()
    served: list[Any] = []

    async def wait(stream: Any) -> None:
        await stream.recv_message()
        served.append(stream._stream)
        stream._stream.connection.pause_writing()
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            reset.set()

    told.stream = wait
    server = prepared([told], details=True)
    await server.start(path=str(tmp_path / "s"))
    async with MendedChannel(CELL, path=str(tmp_path / "s")) as channel:
        async with cell_grpc.CellStub(channel).Logs.open() as stream:
            await stream.send_message(wire.LogsRequest(), end=True)
            await begun.wait()
            await stream.cancel()
        await reset.wait()
        await asyncio.sleep(0)
        served[0]._transport.abort()
        server.close()
        await server.wait_closed()


async def test_two_streams_of_one_task_settle_when_their_connection_breaks(socket: str, told: Any) -> None:
    told.stream = hang
    channel = MendedChannel(CELL, path=socket)
    stub = cell_grpc.CellStub(channel)

    async def both() -> int:
        for _ in range(2):
            try:
                with translate_errors():
                    async with stub.Logs.open() as one, stub.Logs.open() as two:
                        await one.send_message(wire.LogsRequest(), end=True)
                        await two.send_message(wire.LogsRequest(), end=True)
                        asyncio.get_running_loop().call_later(0.02, channel.close)
                        await two.recv_message()
            except Fault as fault:
                assert fault.kind is Kind.UNREACHABLE
        return count()

    assert await asyncio.get_running_loop().create_task(both()) == 0


async def test_an_answer_that_is_no_message_is_a_fault_and_the_connection_serves_on(
    channel: Channel, told: Any
) -> None:
    async def answer(stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(Written(wire.ReadFileReply(), octets))

    told.unary = answer
    octets = b"\x0a\xff"
    with pytest.raises(Fault) as told_of:
        await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=20)
    assert told_of.value.kind is Kind.BROKEN
    assert count() == 0
    octets = wire.ReadFileReply(data=b"well").SerializeToString()
    assert (await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=20)).data == b"well"


async def test_a_zero_byte_in_a_path_is_the_callers_mistake(channel: Channel, told: Any) -> None:
    async def open_it(stream: Any) -> None:
        Path((await stream.recv_message()).path).read_bytes()

    told.unary = open_it
    with pytest.raises(Fault, match="the request: a name or path in it has a zero byte") as refused:
        await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(path="/a\0b"), deadline=5)
    assert refused.value.kind is Kind.INVALID
