"""Trees of packages, and what is left of one whose bake was interrupted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from images import tree

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
