"""A second bake of one commit, from packages that are fetched and unpacked anew, differs from the first in no byte.

Minutes long and asked for by name (`make test-image`): CELL_DISK names the first disk, its manifest lies beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from images import tree

DISK = Path(os.environ.get("CELL_DISK", ""))
MANIFEST = DISK.with_suffix(".manifest.json") if DISK.name else DISK


def lacking() -> str:
    if not DISK.is_file() or not MANIFEST.is_file():
        return "CELL_DISK names no disk with its manifest: run `make test-image`"
    if os.geteuid() != 0:
        return "files of an image belong to root"
    commit = subprocess.run(
        ["git", "-C", str(tree.HERE), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if json.loads(MANIFEST.read_text())["commit"] != commit:
        return f"{DISK.name} is of another commit: run `make image`"
    return ""


NOT_HERE = lacking()
pytestmark = [pytest.mark.skipif(bool(NOT_HERE), reason=f"NOT RUN: {NOT_HERE}"), pytest.mark.timeout(3000)]


def test_a_second_bake_differs_in_no_byte(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "images", "bake", f"--work={tmp_path / 'work'}", f"--out={tmp_path / 'second.raw'}"]
    done = subprocess.run([*argv, f"--same-as={MANIFEST}"], cwd=tree.HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(path.read_text()) for path in (MANIFEST, tmp_path / "second.manifest.json"))
    assert first == second
