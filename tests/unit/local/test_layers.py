"""Generations of shared layers: which one instances see, and which goes."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from cellagent.images.messages import LayerReady
from cellagent.images.shared import put
from controller.clouds.local import shared_layers
from controller.clouds.local.instance_cgroups import Groups
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.shared_layers import LayerShare
from hostkit.programs import Completed
from tests.support.waiting import until

GIB = 1 << 30


class NoGroups:
    """Control groups, on a machine without them."""

    def create(self, group: str, *, memory_mib: int) -> None:
        pass

    def of(self, group: str) -> list[Path]:
        return []

    def kill(self, group: str) -> set[int]:
        return set()

    def remove(self, group: str) -> list[Path]:
        return []


class Bringers:
    """The processes that would bring layers: each says its room, and puts a layer when it is told what it takes."""

    def __init__(self) -> None:
        self.rooms: dict[str, int] = {}
        self._ends: dict[str, asyncio.Future[int]] = {}

    def end(self, image: str, taken: int) -> None:
        self._ends[image].set_result(taken)

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: float = 20.0) -> Completed:
        request = msgspec.json.decode(stdin)
        image = request["image"]
        self.rooms[image] = request["room"]
        self._ends[image] = asyncio.get_running_loop().create_future()
        taken = await self._ends[image]
        Path(request["work"], "layer").mkdir(parents=True)
        layer = LayerReady(
            chain_id=f"sha256:{image}",
            diff_id="",
            digest="",
            folder=f"{request['work']}/layer",
            size=1,
            unpacked=1,
            entries=1,
            taken=taken,
        )
        put(Path(request["layers"]), layer)
        Path(request["work"]).rmdir()
        return Completed(0, msgspec.json.encode({"image_id": image}), b"")


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> list[Path]:
    """So much of the disk is free; the looks at it."""
    looks: list[Path] = []

    def look(path: Path) -> SimpleNamespace:
        looks.append(path)
        return SimpleNamespace(f_bavail=count // 4096, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", look)
    return looks


@pytest.fixture
def bringers(monkeypatch: pytest.MonkeyPatch) -> Bringers:
    free(monkeypatch, 1000 * GIB)
    found = Bringers()
    monkeypatch.setattr(shared_layers.programs, "run", found.run)
    return found


@asynccontextmanager
async def sharing(root: Path) -> AsyncGenerator[LayerShare]:
    share = LayerShare(LocalSettings(root=root, shared_layers_gib=20), cast("Any", NoGroups()))
    share.prepare()
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(share.work())
        yield share
        work.cancel()


async def test_all_that_is_brought_at_once_has_the_limit_together(tmp_path: Path, bringers: Bringers) -> None:
    async with sharing(tmp_path) as share:
        for image in "abc":
            share.want(image, None)
        await until(lambda: len(bringers.rooms) == 2)
        assert bringers.rooms == {"a": 10 * GIB, "b": 10 * GIB}
        bringers.end("a", 4 * GIB)
        await until(lambda: len(bringers.rooms) == 3)
        assert bringers.rooms["c"] == 6 * GIB


async def test_what_older_generations_hold_is_part_of_the_limit(tmp_path: Path, bringers: Bringers) -> None:
    old = tmp_path / "shared/of-a-cell-that-lives/layers"
    old.mkdir(parents=True)
    (old / "layer.json").write_bytes(msgspec.json.encode({"taken": 19 * GIB}))
    async with sharing(tmp_path) as share:
        share.want("a", None)
        await until(lambda: bool(bringers.rooms))
        assert bringers.rooms == {"a": GIB // 2}


async def test_layers_leave_half_of_the_free_disk_to_others_and_come_no_more_where_there_is_little(
    tmp_path: Path, bringers: Bringers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sharing(tmp_path) as share:
        looks = free(monkeypatch, GIB // 20)
        share.want("small", None)
        await until(lambda: len(looks) == 2)  # before it and after it
        free(monkeypatch, 8 * GIB)
        share.want("a", None)
        await until(lambda: bool(bringers.rooms))
        assert bringers.rooms == {"a": 2 * GIB}


async def test_a_full_disk_on_which_no_generation_can_begin_ends_nothing(
    tmp_path: Path, bringers: Bringers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sharing(tmp_path) as share:
        first = share.generation
        share.want("a", None)
        await until(lambda: bool(bringers.rooms))

        begun: list[None] = []

        def full() -> str:
            begun.append(None)
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(share, "_begun", full)
            bringers.end("a", 11 * GIB)
            await until(lambda: bool(begun))
        share.want("b", None)
        await until(lambda: "b" in bringers.rooms)
        assert share.generation == first
        bringers.end("b", 1)
        await until(lambda: share.generation != first)


def test_a_generation_goes_on_after_a_restart_and_the_one_of_an_earlier_boot_does_not(tmp_path: Path) -> None:
    settings = LocalSettings(root=tmp_path, shared_layers_gib=20)
    (tmp_path / "shared/00000000-other-boot-1/layers").mkdir(parents=True)
    first = LayerShare(settings, Groups("test"))
    first.prepare()
    assert first.folder(first.generation).is_dir()
    again = LayerShare(settings, Groups("test"))
    again.prepare()
    assert again.generation == first.generation
    assert [path.name for path in again.unused(())] == ["00000000-other-boot-1"]


def test_a_generation_that_an_instance_sees_stays(tmp_path: Path) -> None:
    settings = LocalSettings(root=tmp_path, shared_layers_gib=20)
    (tmp_path / "shared/used/layers").mkdir(parents=True)
    share = LayerShare(settings, Groups("test"))
    share.prepare()
    assert share.unused({"used"}) == ()
    assert [path.name for path in share.unused({share.generation, ""})] == ["used"]


def test_where_nothing_is_to_be_shared_nothing_is(tmp_path: Path) -> None:
    share = LayerShare(LocalSettings(root=tmp_path, shared_layers_gib=0), Groups("test"))
    share.prepare()
    share.want("web:1", None)
    assert share.generation == ""
    assert not (tmp_path / "shared").exists()
    assert share.unused(()) == ()
