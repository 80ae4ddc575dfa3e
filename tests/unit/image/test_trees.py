"""Trees of packages, and what is left of one whose bake was interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from images import tree
from images.commands import run

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@NEEDS_ROOT
def test_what_an_interrupted_bake_left_mounted_is_let_go_and_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    begun = tmp_path / "work/cell.new"
    (begun / "proc/deeper").mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(outside), str(begun / "proc")], check=True)
    monkeypatch.chdir(tmp_path)
    tree.clear(Path("work/cell.new"))
    assert not begun.exists()
    assert (outside / "file").read_text() == "mine"
    tree.clear(Path("work/cell.new"))


def test_when_a_tree_was_made_does_not_show_before_the_commit_or_after_it(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    commit = 1_800_000_000
    for made in (commit - 9_000, commit + 9_000):
        root = tmp_path / str(made)
        files = {
            "etc/apt/sources.list": made,
            "usr/bin/sh": 1_600_000_000,
            "etc/passwd": made + 30,
            "etc/ours": made + 90,
        }
        for name, when in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
            os.utime(root / name, (when, when))
        tree.clamp(root, min(tree.begun(root), commit), commit)
        seen.append({name: (root / name).stat().st_mtime for name in files})
    assert seen[0] == seen[1]
    assert seen[0]["usr/bin/sh"] == 1_600_000_000
    assert seen[0]["etc/passwd"] == commit


def test_pip_can_be_run_where_none_is_installed() -> None:
    assert run([sys.executable, "-m", "pip", "--version"], environment=tree.with_pip()).startswith(b"pip ")
