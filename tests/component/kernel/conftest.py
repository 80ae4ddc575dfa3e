"""A cell and a pod out of namespaces of our own, and a count of what is left behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from pathlib import Path

import pytest

from cellagent.kernel import mounts, namespaces


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, mounts and control groups are real here")


@pytest.fixture
def folder() -> Generator[Path]:
    """A folder of this test's own below /run, in which nothing may be mounted at the end."""
    path = Path("/run", f"chk-{secrets.token_hex(4)}")
    path.mkdir()
    yield path
    left = mounts.mounted_below(path)
    for nested in sorted(path.rglob("ns"), reverse=True):
        namespaces.remove(nested)
    mounts.unmount_below(path)
    for found in sorted(path.rglob("*"), reverse=True):
        found.rmdir() if found.is_dir() and not found.is_symlink() else found.unlink()
    path.rmdir()
    assert left == []
