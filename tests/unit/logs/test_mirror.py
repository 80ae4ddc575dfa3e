"""A copy is every byte once and in order, wherever the connection breaks. A real gRPC connection is cut at random."""

import asyncio
import contextlib
import errno
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from controller.logs import copy, lines, mirror
from controller.logs.mirror import Mirror
from tests.support.log_source import LOG, ReachableCell, running_source


@pytest.fixture
async def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ReachableCell]:
    monkeypatch.setattr(mirror, "SHORTEST_PAUSE", 0.001)
    async with running_source(tmp_path / "cell.sock") as made:
        yield made


@pytest.mark.parametrize("seed", range(8))
async def test_a_copy_is_exact_wherever_the_connection_breaks(cell: ReachableCell, tmp_path: Path, seed: int) -> None:
    cell.source.dice = random.Random(seed)
    cell.source.cuts = 30
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert (tmp_path / "0.log").read_bytes() == LOG
    assert len(cell.source.asked) > 5


@pytest.mark.parametrize("seed", range(4))
async def test_a_copy_is_exact_over_restarts_of_the_controller_and_rotations(
    cell: ReachableCell, tmp_path: Path, seed: int
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


async def test_a_complete_copy_is_not_made_again(cell: ReachableCell, tmp_path: Path) -> None:
    for _ in range(2):
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert cell.source.asked == [0, len(LOG)]
    assert (tmp_path / "0.log").read_bytes() == LOG


async def test_tries_are_counted_from_the_last_progress(
    cell: ReachableCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


async def test_a_lost_cell_ends_the_copy_with_its_fault(cell: ReachableCell, tmp_path: Path) -> None:
    cell.lost = True
    with pytest.raises(Fault, match="it is lost"):
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)


async def test_a_broken_connection_is_no_end_for_who_does_not_follow(cell: ReachableCell, tmp_path: Path) -> None:
    cell.source.cuts = 5
    cell.source.dice = random.Random(3)
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=False)
    written = (tmp_path / "0.log").read_bytes()
    assert LOG.startswith(written)


async def test_a_gap_is_never_written_over(cell: ReachableCell, tmp_path: Path) -> None:
    cell.source.gap = 10
    with pytest.raises(Fault, match="was due"):
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert (tmp_path / "0.log").read_bytes() == b""


@pytest.mark.parametrize(
    "chunk",
    [
        wire.LogChunk(offset=2**64 - 2, data=b"x" * 1000, gone=2**64 - 1),
        wire.LogChunk(offset=2**64 - 2, data=b"x" * 1000),
        wire.LogChunk(offset=2**63, gone=2**63),
        wire.LogChunk(offset=2**50, data=b"x", gone=2**50),
        wire.LogChunk(offset=6, data=b"x", gone=5),
    ],
    ids=["beyond-all-numbers", "no-gap-said", "half-of-all-numbers", "beyond-all-logs", "a-larger-gap-than-said"],
)
async def test_a_position_that_cannot_be_ends_the_copy_and_leaves_nothing(
    cell: ReachableCell, tmp_path: Path, chunk: wire.LogChunk
) -> None:
    cell.source.chunks = [chunk]
    with pytest.raises(Fault, match="was due") as told:
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert told.value.kind is Kind.BROKEN
    assert (tmp_path / "0.log").read_bytes() == b""
    cell.source.chunks = []
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert (tmp_path / "0.log").read_bytes() == LOG


async def test_a_cell_that_gives_up_bytes_again_and_again_ends_the_copy(cell: ReachableCell, tmp_path: Path) -> None:
    cell.source.chunks = [wire.LogChunk(offset=at, gone=1) for at in range(1, 1000)]
    with pytest.raises(Fault, match="gave up bytes of it 17 times"):
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert (tmp_path / "0.log").stat().st_size < 10_000


@pytest.mark.parametrize("base", [2**64 - 1, 2**63, 2**50 + 1, -(2**50) - 1])
async def test_a_note_with_a_number_that_cannot_be_is_none(cell: ReachableCell, tmp_path: Path, base: int) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(b"")
    note = copy.Note(base, path.stat().st_ino, "k")
    (tmp_path / ".0.log.begins").write_bytes(msgspec.msgpack.encode(note))
    await Mirror().copy(cell.connect, "k", path, follow=True)
    assert path.read_bytes() == LOG


async def test_a_disk_that_refuses_for_good_ends_the_copy_with_its_fault(cell: ReachableCell, tmp_path: Path) -> None:
    (tmp_path / "0.log").mkdir()
    with pytest.raises(Fault, match="directory") as told:
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert told.value.kind is Kind.BROKEN


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes copies durable every 10 kB; the sizes of the log's file as it was synced, one after another."""
    monkeypatch.setattr(copy, "DUE_BYTES", 10_000)
    sizes: list[int] = []

    def sync(files: tuple[int, ...]) -> None:
        sizes.append(os.fstat(files[0]).st_size)

    monkeypatch.setattr(mirror, "_sync", sync)
    return sizes


async def test_a_cell_is_told_to_give_back_what_is_durable_and_no_more(
    cell: ReachableCell, tmp_path: Path, synced: list[int]
) -> None:
    cell.source.cuts = 30
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    told = cell.source.trims
    assert told[-1] == len(LOG)
    assert len(told) > 2
    assert told == sorted(told)
    assert all(any(offset <= size for size in synced) for offset in told)
    assert (tmp_path / "0.log").read_bytes() == LOG


@pytest.mark.parametrize("kind", [Kind.UNSUPPORTED, Kind.BROKEN, Kind.UNAVAILABLE])
async def test_a_cell_that_gives_nothing_back_is_copied_all_the_same(
    cell: ReachableCell, tmp_path: Path, synced: list[int], kind: Kind
) -> None:
    cell.source.trim_fault = Fault(kind, "log", "not here")
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert cell.source.trims
    assert (tmp_path / "0.log").read_bytes() == LOG


async def test_a_small_log_costs_no_call_more(cell: ReachableCell, tmp_path: Path) -> None:
    cell.source.log = LOG[:5000]
    await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert cell.source.trims == []


async def test_a_disk_that_loses_what_was_written_ends_the_copy_and_the_cell_keeps_its_bytes(
    cell: ReachableCell, tmp_path: Path, synced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(files: tuple[int, ...]) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(mirror, "_sync", sync)
    with pytest.raises(Fault, match="Input/output") as told:
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    assert told.value.kind is Kind.BROKEN
    assert cell.source.trims == []


async def test_a_lost_copy_says_how_many_bytes_are_missing_and_goes_on_after_them(
    cell: ReachableCell, tmp_path: Path
) -> None:
    cell.source.first = LOG.index(b"line 2000\n") + len("line 2000\n")
    for _ in range(2):  # said once
        await Mirror().copy(cell.connect, "k", tmp_path / "0.log", follow=True)
    said, _, rest = (tmp_path / "0.log").read_bytes().partition(b"\n")
    assert rest == LOG[cell.source.first :]
    line = lines.parse(said)
    assert line is not None
    assert lines.nanoseconds(line.time)
    assert f"{cell.source.first} bytes" in line.content.decode()
