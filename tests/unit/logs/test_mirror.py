"""A copy is every byte once and in order, wherever the connection breaks. A real gRPC connection is cut at random."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.limits import CELL
from cellwire.rpc.mended import MendedChannel
from cellwire.rpc.serve import prepared
from controller.logs import mirror
from controller.logs.mirror import Mirror


class Source(cell_grpc.CellBase):
    """A cell with one log, that breaks off as it is told to."""

    def __init__(self, log: bytes) -> None:
        self.log = log
        self.dice = random.Random(0)
        self.cuts = 0
        self.asked: list[int] = []
        self.fault: Fault | None = None
        self.gap = 0

    async def Logs(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.asked.append(request.offset)
        if self.fault:
            raise self.fault
        # A cell may begin at a block of its own, before what was asked for.
        position = max(0, request.offset - self.dice.choice([0, 0, 7])) + self.gap
        while position < len(self.log):
            data = self.log[position : position + self.dice.randint(1, 4000)]
            await stream.send_message(wire.LogChunk(offset=position, data=data))
            position += len(data)
            if self.cuts and self.dice.random() < 0.2:
                self.cuts -= 1
                if self.dice.random() < 0.3:
                    return  # a cell that stops in an orderly way
                stream._stream._transport.abort()
                return
        await stream.send_message(wire.LogChunk(offset=position, end=True))

    async def Report(self, stream: Any) -> None: ...
    async def ReadFile(self, stream: Any) -> None: ...
    async def Exec(self, stream: Any) -> None: ...
    async def Attach(self, stream: Any) -> None: ...
    async def PortForward(self, stream: Any) -> None: ...
    async def PutFiles(self, stream: Any) -> None: ...


class Cell:
    """The way to it, as the fleet gives it."""

    def __init__(self, source: Source, path: Path) -> None:
        self.source = source
        self.channel = MendedChannel(CELL, path=str(path))
        self.lost = False

    async def connect(self) -> MendedChannel:
        if self.lost:
            raise Fault(Kind.UNAVAILABLE, "cell c-1", "it is lost", reason="CellLost")
        return self.channel


LOG = b"".join(b"2026-11-20T10:00:00Z stdout F line %d\n" % n for n in range(4000))


@pytest.fixture
async def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cell]:
    monkeypatch.setattr(mirror, "SHORTEST_PAUSE", 0.001)
    source = Source(LOG)
    server = prepared([source], details=True)
    await server.start(path=str(tmp_path / "cell.sock"))
    made = Cell(source, tmp_path / "cell.sock")
    yield made
    made.channel.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("seed", range(8))
async def test_a_copy_is_exact_wherever_the_connection_breaks(cell: Cell, tmp_path: Path, seed: int) -> None:
    cell.source.dice = random.Random(seed)
    cell.source.cuts = 30
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert (tmp_path / "0.log").read_bytes() == LOG
    assert len(cell.source.asked) > 5


@pytest.mark.parametrize("seed", range(4))
async def test_a_copy_is_exact_over_restarts_of_the_controller_and_rotations(
    cell: Cell, tmp_path: Path, seed: int
) -> None:
    dice = cell.source.dice = random.Random(seed)
    cell.source.cuts = 1000
    path = tmp_path / "0.log"
    moved: list[Path] = []
    for _ in range(25):
        one = Mirror()
        task = asyncio.get_running_loop().create_task(one.copy(cell.connect, "k", path, follow=True))
        await asyncio.sleep(dice.random() * 0.01)
        if path.exists() and path.stat().st_size and dice.random() < 0.5:
            moved.append(tmp_path / f"0.log.{len(moved):03}")
            path.rename(moved[-1])
            one.reopen("k")
            await asyncio.sleep(dice.random() * 0.005)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    cell.source.cuts = 0
    await Mirror().copy(cell.connect, "k", path, follow=True)
    assert b"".join(file.read_bytes() for file in [*moved, path]) == LOG


async def test_a_complete_copy_is_not_made_again(cell: Cell, tmp_path: Path) -> None:
    for _ in range(2):
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert cell.source.asked == [0, len(LOG)]
    assert (tmp_path / "0.log").read_bytes() == LOG


async def test_tries_are_counted_from_the_last_progress(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "TRIES", 3)
    cell.source.cuts = 25
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert len(cell.source.asked) > 10
    cell.source.fault = Fault(Kind.UNAVAILABLE, "log", "not now")
    cell.source.asked.clear()
    with pytest.raises(Fault, match="not now"):
        await Mirror().copy(cell.connect, "k", tmp_path / "1.log", follow=True)
    assert len(cell.source.asked) == 4


async def test_a_lost_cell_ends_the_copy_with_its_fault(cell: Cell, tmp_path: Path) -> None:
    cell.lost = True
    with pytest.raises(Fault, match="it is lost"):
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)


async def test_a_broken_connection_is_no_end_for_who_does_not_follow(cell: Cell, tmp_path: Path) -> None:
    cell.source.cuts = 5
    cell.source.dice = random.Random(3)
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=False)
    written = (tmp_path / "0.log").read_bytes()
    assert LOG.startswith(written)


async def test_a_gap_is_never_written_over(cell: Cell, tmp_path: Path) -> None:
    cell.source.gap = 10
    with pytest.raises(Fault, match="was due"):
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert (tmp_path / "0.log").read_bytes() == b""


async def test_a_full_disk_is_told_and_not_tried_for_ever(cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "0.log").symlink_to("/dev/full")
    with pytest.raises(Fault) as told:
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert told.value.kind is Kind.BROKEN
    assert "No space" in str(told.value)
