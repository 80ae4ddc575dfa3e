"""Looks at folders cost little, whoever asks how often."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from cellagent.runtime.stats import folder_walk
from cellagent.runtime.stats.folder_walk import FRESH, SPARED, FolderSizes, disk_usage
from hostkit import files


async def test_what_was_seen_is_told_again_for_a_while_and_longer_after_a_long_look(tmp_path: Path) -> None:
    now = 100.0

    def clock() -> float:
        nonlocal now
        now += 1.0  # each look takes so long
        return now

    held = FolderSizes(clock)
    (tmp_path / "a").write_bytes(bytes(8192))
    first = await held.of(str(tmp_path))
    assert first >= 8192
    (tmp_path / "b").write_bytes(bytes(1 << 20))
    now += FRESH
    assert await held.of(str(tmp_path)) == first
    now += SPARED
    assert await held.of(str(tmp_path)) >= first + (1 << 20)


async def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert await FolderSizes(lambda: 0.0).of(str(tmp_path / "absent")) == 0


def _deeper(folder: Path, levels: int) -> int:
    """A descriptor of the innermost of so many folders within each other; names have 200 letters."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    return here


def test_what_lies_deeper_than_any_path_is_counted(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "b"):
        (tree / name).mkdir()
        inner = _deeper(tree / name, 1200)
        file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner)
        os.write(file, bytes(1 << 20))
        os.close(file)
        os.close(inner)
    before = set(Path("/proc/self/fd").iterdir())
    used, entries = disk_usage(tree, threading.Event())
    assert entries == 2 * (1 + 1200 + 1)
    assert used >= 2 << 20
    # Others that earlier tests left open may be closed by now.
    assert set(Path("/proc/self/fd").iterdir()) <= before
    files.remove_tree(tree)


def test_who_moves_each_folder_away_that_is_looked_at_has_the_walk_end_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.mkdir()
    os.close(_deeper(tree, 400))
    gone, opened = os.open(outside, os.O_RDONLY), 0
    up, real = folder_walk._Walk._up, os.open

    def moving(walk: folder_walk._Walk) -> None:
        # The folder that was looked at is moved away, with all below it.
        levels = walk._levels
        if len(levels) > 1:
            here = real(tree, os.O_RDONLY)
            for level in levels[1:]:
                below = real(level.name, os.O_RDONLY, dir_fd=here)
                os.close(here)
                here = below
            os.rename("d" * 200, f"gone{len(levels)}", src_dir_fd=here, dst_dir_fd=gone)
            os.close(here)
        up(walk)

    def counted(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        nonlocal opened
        opened += 1
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(folder_walk, "SEARCHED", 100)
    monkeypatch.setattr(folder_walk._Walk, "_up", moving)
    monkeypatch.setattr(os, "open", counted)
    assert disk_usage(tree, threading.Event())[1] == 400
    os.close(gone)
    assert opened < 5 * 400
    monkeypatch.undo()
    files.remove_tree(tree)
    files.remove_tree(outside)


def test_a_folder_that_is_moved_away_under_the_walk_ends_only_its_own_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `..` leads elsewhere then."""
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for name in ("a/inner/deep", "b", "c"):
        (tree / name).mkdir(parents=True)
    (outside / "secret").mkdir(parents=True)
    look = folder_walk._Walk._look

    def moving(walk: folder_walk._Walk, name: str) -> None:
        look(walk, name)
        if name == "deep":
            (tree / "a/inner").rename(outside / "inner")

    monkeypatch.setattr(folder_walk._Walk, "_look", moving)
    _, entries = disk_usage(tree, threading.Event())
    assert entries == 5
    (outside / "inner").rename(tree / "a/inner")
    (tree / "b/more").mkdir()
    (tree / "c/more").mkdir()
    assert disk_usage(tree, threading.Event())[1] == 7
