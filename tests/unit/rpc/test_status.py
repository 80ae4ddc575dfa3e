"""A fault that crosses the wire is still the fault that was raised."""

import asyncio
import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import prepared, serving
from cellwire.rpc.status import KINDS, STATUSES, FaultCodec, fault_of
from cellwire.version import VERSION


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_status_and_comes_back_from_it(kind: Kind) -> None:
    assert KINDS[STATUSES[kind]] is (Kind.UNAVAILABLE if kind is Kind.UNREACHABLE else kind)


def test_what_a_peer_tells_was_reached_whatever_it_claims() -> None:
    told = GRPCError(Status.UNAVAILABLE, "registry: silent", ["unreachable", "registry", "silent", "", ""])
    assert fault_of(told).kind is Kind.UNAVAILABLE
    assert fault_of(GRPCError(Status.UNAVAILABLE, "registry: silent")).kind is Kind.UNAVAILABLE


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_every_status_is_some_kind_of_fault(status: Status) -> None:
    assert fault_of(GRPCError(status, "disk: full")).cause == "full"


def test_what_a_peer_tells_has_nothing_that_a_terminal_obeys() -> None:
    odd = "one\x1b[2J\x00\x9b31m\u202e\r\n\ttwo é"
    fault = fault_of(GRPCError(Status.INTERNAL, odd, ["broken", odd, odd, odd, odd]))
    plain = "one?[2J??31m??\n\ttwo é"
    assert (fault.thing, fault.cause, fault.mend, fault.reason) == (plain, plain, plain, plain)
    assert fault_of(GRPCError(Status.INTERNAL, f"disk: {odd}")).cause == plain


@pytest.mark.parametrize("data", [b"", b"\xff", b"{}", b"[1,2,3,4,5]", b'["no such kind","a","b","c","d"]', b"[]"])
def test_details_that_are_not_ours_are_passed_over(data: bytes) -> None:
    details = FaultCodec().decode(Status.NOT_FOUND, "thing: gone", data)
    fault = fault_of(GRPCError(Status.NOT_FOUND, "thing: gone", details))
    assert (fault.kind, str(fault)) == (Kind.NOT_FOUND, "thing: gone")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError("no"), Kind.UNREACHABLE),
        (TimeoutError(), Kind.TIMEOUT),
        (StreamTerminatedError("gone"), Kind.UNREACHABLE),
        (ssl.SSLError("eof"), Kind.UNREACHABLE),
        (KeyError("x"), Kind.BROKEN),
    ],
)
def test_what_breaks_on_the_way_is_a_fault_too(error: Exception, kind: Kind) -> None:
    assert fault_of(error).kind is kind


async def asked(channel: Channel) -> Fault:
    with pytest.raises(Fault) as told_of:
        await call(cell_grpc.CellStub(channel).ReadFile, wire.ReadFileRequest(), deadline=5)
    return told_of.value


async def test_between_our_own_ends_a_fault_keeps_its_parts(tmp_path: Path, told: Any) -> None:
    async def refuse(stream: Any) -> None:
        raise Fault(Kind.NO_CAPACITY, "disc: c", "voll — 100 %\n", "empty it", reason="DiskFull")

    told.unary = refuse
    server = prepared([told], details=True)
    await server.start(path=str(tmp_path / "s"))
    async with MendedChannel(CELL, path=str(tmp_path / "s")) as channel:
        fault = await asked(channel)
    server.close()
    await server.wait_closed()
    assert (fault.kind, fault.thing, fault.cause, fault.mend, fault.reason) == (
        Kind.NO_CAPACITY,
        "disc: c",
        "voll — 100 %\n",
        "empty it",
        "DiskFull",
    )


async def test_a_foreign_client_gets_the_sentence_and_no_details(tmp_path: Path, told: Any) -> None:
    async def refuse(stream: Any) -> None:
        raise Fault(Kind.PRECONDITION, "container c-1", "it runs", "stop it first")

    told.unary = refuse
    async with serving([told], tmp_path / "s"), Channel(path=str(tmp_path / "s")) as channel:
        with pytest.raises(GRPCError) as told_of:
            await cell_grpc.CellStub(channel).ReadFile(wire.ReadFileRequest())
    assert told_of.value.status is Status.FAILED_PRECONDITION
    assert told_of.value.message == "container c-1: it runs; stop it first"


async def test_a_call_that_was_refused_waits_for_no_collection_of_garbage(tmp_path: Path, told: Any) -> None:
    raised: list[weakref.ref[Fault]] = []

    def noted(fault: Fault) -> Fault:
        raised.append(weakref.ref(fault))
        return fault

    async def refuse(stream: Any) -> None:
        raise noted(Fault(Kind.NOT_FOUND, "container c-1", "there is none"))

    told.unary = refuse
    server = prepared([told], details=True)
    await server.start(path=str(tmp_path / "s"))
    gc.disable()
    try:
        async with asyncio.timeout(30), MendedChannel(CELL, path=str(tmp_path / "s")) as channel:
            await asked(channel)
            while raised[0]() is not None:
                await asyncio.sleep(0)
    finally:
        gc.enable()
        server.close()
        await server.wait_closed()


async def test_a_call_of_another_version_is_refused_in_a_sentence(tmp_path: Path) -> None:
    server = prepared([], details=True)
    await server.start(path=str(tmp_path / "s"))
    async with MendedChannel(CELL, path=str(tmp_path / "s")) as channel:
        fault = await asked(channel)
    server.close()
    await server.wait_closed()
    assert fault.kind is Kind.UNSUPPORTED
    assert str(fault) == f"ReadFile: version {VERSION} does not know this call; run one version on both sides"


async def test_a_call_of_another_version_is_unimplemented_to_a_foreign_client(tmp_path: Path) -> None:
    async with serving([], tmp_path / "s"), Channel(path=str(tmp_path / "s")) as channel:
        with pytest.raises(GRPCError) as told_of:
            await cell_grpc.CellStub(channel).ReadFile(wire.ReadFileRequest())
    assert told_of.value.status is Status.UNIMPLEMENTED


async def test_a_page_of_words_does_not_break_the_connection(tmp_path: Path, told: Any) -> None:
    async def refuse(stream: Any) -> None:
        raise Fault(Kind.BROKEN, "runtime", "\u2028é" * 100_000, "x" * 100_000)

    told.unary = refuse
    async with serving([told], tmp_path / "s"), MendedChannel(CELL, path=str(tmp_path / "s")) as channel:
        assert (await asked(channel)).kind is Kind.BROKEN
        assert (await asked(channel)).kind is Kind.BROKEN


async def test_what_nobody_foresaw_is_internal_and_told_in_short(
    tmp_path: Path, told: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def stumble(stream: Any) -> None:
        raise KeyError("secret")

    told.unary = stumble
    async with serving([told], tmp_path / "s"), MendedChannel(CELL, path=str(tmp_path / "s")) as channel:
        fault = await asked(channel)
    assert fault.kind is Kind.BROKEN
    assert "secret" not in str(fault)
    assert "secret" in caplog.text


async def test_a_cancelled_handler_ends_without_a_status(tmp_path: Path, told: Any) -> None:
    ended = asyncio.Event()

    async def hang(stream: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    told.unary = hang
    async with serving([told], tmp_path / "s"), MendedChannel(CELL, path=str(tmp_path / "s")) as channel:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await cell_grpc.CellStub(channel).ReadFile(wire.ReadFileRequest())
        async with asyncio.timeout(20):
            await ended.wait()


def test_details_of_a_peer_that_is_not_ours_are_cut_and_never_break_the_call() -> None:
    assert FaultCodec().decode(Status.INTERNAL, None, b"[" * 60_000) is None
    told = fault_of(GRPCError(Status.INTERNAL, "x" * 60_000, ["broken", *["y" * 60_000] * 4]))
    assert len(str(told)) < 5000
    assert len(str(fault_of(GRPCError(Status.INTERNAL, "x" * 60_000)))) < 5000
