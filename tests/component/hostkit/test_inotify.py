from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import pytest

from hostkit.inotify import ARRIVALS, CHANGES, Inotify
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[3]
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


PROGRAM = """
import asyncio, sys
from contextlib import closing
from pathlib import Path
from hostkit.inotify import CHANGES, Inotify

async def main():
    woken = [asyncio.Event(), asyncio.Event()]
    with closing(Inotify()) as made:
        ends = [made.watch(Path(sys.argv[1]), CHANGES, lambda name, each=each: each.set()) for each in woken]
        for each in woken:
            await each.wait()
        for end in ends:
            end()
    print("woken")

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("limit", "mend"), [("instances", "fs.inotify.max_user_instances"), ("watches", "fs.inotify.max_user_watches")]
)
def test_where_the_kernels_limit_is_used_up_it_is_said_and_everybody_looks_now_and_then(
    tmp_path: Path, limit: str, mend: str
) -> None:
    shell = f'echo 0 > /proc/sys/user/max_inotify_{limit}; exec "$@"'
    argv = ["unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh", sys.executable, "-c", PROGRAM]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    ran = subprocess.run([*argv, str(tmp_path)], capture_output=True, text=True, env=environment, check=False)
    assert ran.stdout == "woken\n", ran.stderr
    assert mend in ran.stderr
    assert "Traceback" not in ran.stderr
