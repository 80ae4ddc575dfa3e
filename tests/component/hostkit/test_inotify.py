from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import pytest

from hostkit.inotify import ARRIVALS, CHANGES, Inotify
from tests.support.waiting import until

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.fixture
async def inotify() -> AsyncGenerator[Inotify]:
    with closing(Inotify()) as made:
        yield made


async def test_two_watchers_of_one_folder_hear_what_each_asked_for(inotify: Inotify, tmp_path: Path) -> None:
    changes: list[str] = []
    arrivals: list[str] = []
    inotify.watch(tmp_path, CHANGES, changes.append)
    end = inotify.watch(tmp_path, ARRIVALS, arrivals.append)
    (tmp_path / "one").mkdir()
    await until(lambda: "one" in changes)
    end()
    (tmp_path / "two").write_text("")
    await until(lambda: "two" in changes)
    assert "two" not in arrivals


async def test_who_watches_is_told_to_look_at_everything_when_events_are_lost(inotify: Inotify, tmp_path: Path) -> None:
    heard: set[str] = set()
    inotify.watch(tmp_path, CHANGES, heard.add)
    for number in range(int(QUEUE.read_text()) + 1):
        (tmp_path / f"{number}").mkdir()
    await until(lambda: "" in heard)
