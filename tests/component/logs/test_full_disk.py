"""A disk that is full for a while costs a copy time and no byte. The disk is a small real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

import pytest

from controller.logs import mirror
from controller.logs.copy import Copy
from controller.logs.mirror import Mirror
from tests.support.log_source import LOG, ReachableCell, running_source

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


class Disk:
    """A file system of 64 pages, and a file that takes what is free of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, *, but: int) -> None:
        """Leave so many pages of it."""
        free = os.statvfs(self.path).f_bavail - but
        self._filler.write_bytes(bytes(free * os.sysconf("SC_PAGE_SIZE")))

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={64 * os.sysconf('SC_PAGE_SIZE')}", "none", path], check=True)
    yield Disk(path)
    subprocess.run(["umount", path], check=True)


@pytest.fixture
async def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ReachableCell]:
    monkeypatch.setattr(mirror, "SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(mirror, "LONGEST_PAUSE", 0.001)
    async with running_source(tmp_path / "cell.sock") as made:
        yield made


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not ready():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("pages", range(4))
async def test_a_copy_waits_for_room_however_long_and_goes_on_exactly(
    cell: ReachableCell, disk: Disk, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr(mirror, "TRIES", 2)
    disk.fill(but=pages)
    path = disk.path / "c" / "0.log"
    async with asyncio.TaskGroup() as tasks:
        one = Mirror()
        copying = tasks.create_task(one.copy(cell.connect, "k", path, follow=True))
        await until(lambda: cell.dialled > 12 or copying.done())
        assert "No space left on device" in one.hindrance("k")
        assert LOG.startswith(path.read_bytes() if path.exists() else b"")
        disk.make_room()
    assert path.read_bytes() == LOG
    assert not one.hindrance("k")


async def test_a_controller_killed_while_the_disk_is_full_loses_no_place(cell: ReachableCell, disk: Disk) -> None:
    path = disk.path / "0.log"
    disk.fill(but=5)
    async with asyncio.TaskGroup() as tasks:
        copying = tasks.create_task(Mirror().copy(cell.connect, "k", path, follow=True))
        await until(lambda: cell.dialled > 3)
        copying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await copying
    disk.make_room()
    await Mirror().copy(cell.connect, "k", path, follow=True)
    assert path.read_bytes() == LOG


def test_a_rotation_without_room_for_its_note_is_refused_and_undone_without_loss(disk: Disk) -> None:
    path, moved = disk.path / "0.log", disk.path / "0.log.1"
    copy = Copy(path, "k")
    copy.open()
    copy.write(LOG[: LOG.index(b"\n") + 1])
    disk.fill(but=0)
    path.rename(moved)
    with pytest.raises(OSError, match="No space"):
        copy.reopen()
    disk.make_room()
    moved.rename(path)  # as a kubelet does that was refused
    copy.write(LOG[copy.offset : 400])
    copy.close()  # killed

    copy = Copy(path, "k")
    copy.open()
    copy.write(LOG[copy.offset :])
    copy.close()
    assert path.read_bytes() == LOG


def test_a_line_that_ends_where_there_is_no_room_for_a_note_keeps_its_place(disk: Disk) -> None:
    path, moved = disk.path / "0.log", disk.path / "0.log.1"
    copy = Copy(path, "k")
    copy.open()
    copy.write(LOG[:90])
    path.rename(moved)
    copy.reopen()
    disk.fill(but=0)
    with pytest.raises(OSError, match="No space"):
        copy.write(LOG[90:200])
    disk.make_room()
    copy.write(LOG[copy.offset : 400])
    copy.close()  # killed

    copy = Copy(path, "k")
    copy.open()
    copy.write(LOG[copy.offset :])
    copy.close()
    assert moved.read_bytes() + path.read_bytes() == LOG
