from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hostkit import files, locks, pids


def test_a_file_is_replaced_whole_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "record"
    files.replace(path, b"one")
    (tmp_path / ".record.new").write_bytes(b"what a killed process left")
    files.replace(path, b"two", durable=True)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["record"]


def test_a_file_that_cannot_be_replaced_stays_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.mkdir()
    (path / "content").touch()
    with pytest.raises(OSError, match="directory"):
        files.replace(path, b"two")
    assert [one.name for one in tmp_path.iterdir()] == ["record"]


async def test_a_lock_is_had_by_one_and_by_the_next_once_it_is_let_go(tmp_path: Path) -> None:
    with locks.file(tmp_path / "lock") as second:
        with locks.file(tmp_path / "lock") as first:
            assert locks.take(first)
            assert not locks.take(second)
            assert not await locks.wait(second, 0.05)
        assert await locks.wait(second, 10)


def test_a_process_is_known_by_when_it_started_and_a_zombie_by_nothing() -> None:
    assert pids.started(os.getpid()) > 0
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert pids.stat(child) is not None
    assert pids.started(child) == 0
    assert child in pids.children(os.getpid())
    os.waitpid(child, 0)
    assert pids.stat(child) is None


def test_a_tree_is_removed_however_deep_it_is_and_what_its_links_name_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    tree = tmp_path / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        os.symlink(outside, "link", dir_fd=here)
        os.mknod(b"\xff", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    files.remove_tree(tree)
    assert not os.path.lexists(tree)
    assert [one.name for one in outside.iterdir()] == ["secret"]
    files.remove_tree(tree)
    (tmp_path / "link").symlink_to(outside)
    files.remove_tree(tmp_path / "link")
    assert (outside / "secret").exists()
