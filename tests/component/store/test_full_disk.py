"""A store on a disk of which not a byte is free: whoever opens it is told so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellagent.kernel import mounts
from cellwire.faults import Fault, Kind
from controller.store import sqlite


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder with a store in it, and no room."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounts.mount("tmpfs", str(folder), "tmpfs", options="size=256k")
    try:
        asyncio.run(_used(folder))
        with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        yield folder
    finally:
        mounts.unmount(folder)


async def _used(folder: Path) -> None:
    async with sqlite.running(folder / "records.sqlite") as store:
        await store.put("kind", "key", b"value")


def test_a_full_disk_is_named_and_no_backup_asked_for(full: Path) -> None:
    async def opened() -> None:
        async with sqlite.running(full / "records.sqlite"):
            pass

    with pytest.raises(Fault, match="no space is left on its disk; make room on it") as told:
        asyncio.run(opened())
    assert told.value.kind is Kind.UNAVAILABLE
