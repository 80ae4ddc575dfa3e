"""Pulls that break off, stand still, are cancelled or killed, or are asked for twice."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from cellagent.images.room import ImageSettings, running
from cellwire.faults import Kind
from tests.support.files import names
from tests.support.oci import (
    layer,
    push_image,
)
from tests.support.pulls import NOBODY, failure, flaky_registry
from tests.support.registry import running_registry


async def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with running_registry() as registry, flaky_registry(registry) as (flaky, address):
        pushed = await push_image(registry, "big:1", [layer({"a": os.urandom(2_000_000)})])
        flaky.break_after = 300_000
        async with running(ImageSettings(root=tmp_path)) as room:
            assert (await room.puller.pull(f"{address}/big:1", NOBODY)).id == pushed.id
        assert len(flaky.ranges) >= 5
        assert len(set(flaky.ranges)) == len(flaky.ranges)


async def test_a_pull_that_stands_still_ends_with_the_reason(tmp_path: Path) -> None:
    async with running_registry() as registry, flaky_registry(registry) as (flaky, address):
        await push_image(registry, "big:1", [layer({"a": os.urandom(200_000)})])
        flaky.hang = True
        async with running(ImageSettings(root=tmp_path, stall_seconds=1.0)) as room:
            fault = await failure(room, f"{address}/big:1")
            assert (fault.kind, "no progress for 1 s" in str(fault)) == (Kind.TIMEOUT, True)
            async with asyncio.timeout(20):
                while names(tmp_path / "work"):
                    await asyncio.sleep(0.02)


async def test_a_cancelled_pull_leaves_no_process_and_nothing_to_trust(tmp_path: Path) -> None:
    async with running_registry() as registry, flaky_registry(registry) as (flaky, address):
        small, big = layer({"small": b"1"}), layer({"a": os.urandom(200_000)})
        await push_image(registry, "big:1", [small, big])
        flaky.hang = True
        async with running(ImageSettings(root=tmp_path)) as room:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await room.puller.pull(f"{address}/big:1", NOBODY)
            assert not room.store.images()
            while room.puller.ending:
                await asyncio.sleep(0.02)
            assert children_of(os.getpid(), "cellagent.images") == []
            flaky.hang = False
            image = await room.puller.pull(f"{address}/big:1", NOBODY)
            assert (image.layers[0] / "a").stat().st_size == 200_000


def children_of(parent: int, word: str) -> list[str]:
    found: list[str] = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text(errors="replace").rpartition(")")[2].split()[1]) == parent:
                line = (status.parent / "cmdline").read_text(errors="replace")
                found += [line] if word in line else []
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


async def test_pulls_of_one_image_share_one_download(tmp_path: Path) -> None:
    async with running_registry() as registry, flaky_registry(registry) as (flaky, address):
        pushed = await push_image(registry, "big:1", [layer({"a": os.urandom(200_000)})])
        async with running(ImageSettings(root=tmp_path)) as room, asyncio.TaskGroup() as group:
            pulls = [group.create_task(room.puller.pull(f"{address}/big:1", NOBODY)) for _ in range(5)]
        assert {pull.result().id for pull in pulls} == {pushed.id}
        assert flaky.blobs == 1


async def test_a_killed_pull_child_is_a_fault_and_not_the_end(tmp_path: Path) -> None:
    async with running_registry() as registry, flaky_registry(registry) as (flaky, address):
        await push_image(registry, "big:1", [layer({"a": os.urandom(200_000)})])
        flaky.hang = True
        async with running(ImageSettings(root=tmp_path)) as room, asyncio.TaskGroup() as group:
            pull = group.create_task(failure(room, f"{address}/big:1"))
            while not flaky.blobs:
                await asyncio.sleep(0.02)
            for status in Path("/proc").glob("[0-9]*/stat"):
                with suppress(FileNotFoundError, ProcessLookupError):
                    mine = int(status.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid()
                    if mine and "cellagent.images.pull_process" in (status.parent / "cmdline").read_text(
                        errors="replace"
                    ):
                        os.kill(int(status.parent.name), signal.SIGKILL)
        assert "ended with code -9" in str(pull.result())
