"""Equal trees make equal bytes, whatever the times, the order and the owners that a machine gave their files."""

from __future__ import annotations

import os
from pathlib import Path

from images import agent_bundle, disk, tree

EPOCH = 1_700_000_000
NAMES = ("b/two", "a/one", "c")


def a_tree(folder: Path, names: tuple[str, ...], when: int) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (when, when))
    return folder


def test_a_bundle_is_the_same_from_files_that_were_made_at_other_times_in_another_order(tmp_path: Path) -> None:
    first = agent_bundle.archive(a_tree(tmp_path / "1", NAMES, EPOCH + 5), EPOCH)
    second = agent_bundle.archive(a_tree(tmp_path / "2", NAMES[::-1], EPOCH + 9999), EPOCH)
    assert first == second


def test_no_file_is_younger_than_the_commit_and_older_ones_keep_their_age(tmp_path: Path) -> None:
    folder = a_tree(tmp_path, NAMES, EPOCH + 100)
    os.utime(folder / "c", (EPOCH - 100, EPOCH - 100))
    (folder / "link").symlink_to("nowhere")
    tree.clamp(folder, EPOCH, EPOCH)
    assert {int(path.lstat().st_mtime) for path in folder.rglob("*")} == {EPOCH, EPOCH - 100}


def test_a_table_of_partitions_is_the_same_each_time() -> None:
    assert disk.table(disk.layout("amd64", 1 << 28, 512)) == disk.table(disk.layout("amd64", 1 << 28, 512))
