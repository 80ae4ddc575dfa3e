"""A second bake of one commit, from packages that were fetched and unpacked anew, differs from the first in no byte.

Asked for by name (`make test-image`): CELL_DISK and CELL_DISK_AGAIN name the disks, whose manifests lie beside them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

DISKS = [Path(os.environ.get(name, "")) for name in ("CELL_DISK", "CELL_DISK_AGAIN")]
pytestmark = pytest.mark.skipif(
    not all(disk.is_file() for disk in DISKS),
    reason="NOT RUN: CELL_DISK and CELL_DISK_AGAIN name no two disks: run `make test-image`",
)


def manifest(disk: Path) -> dict[str, Any]:
    return json.loads(disk.with_suffix(".manifest.json").read_text())


def test_a_second_bake_differs_in_no_byte() -> None:
    first, second = map(manifest, DISKS)
    if first["commit"] != second["commit"]:
        pytest.skip(f"NOT RUN: {DISKS[1].name} is of another commit: remove both and run `make test-image`")
    assert first["disk_sha256"] == second["disk_sha256"]
    assert first == second
