"""A cell's disk is not the archive of what its pod has said: the worker is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.files import below
from tests.support.shim import running_shim
from tests.support.waiting import until, until_found

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]
MIB = 1 << 20
LINES = 100 * MIB // 256
CHATTY = f"yes {'x' * 212} | head -n {LINES}; while [ ! -e /go ]; do sleep 0.05; done; echo the last"


def on_cell(folder: Path) -> Path:
    """The log's file of the one container, where its cell has it."""
    logs = [path for path in below(folder) if path.parts[-2:] == ("c", "0.log")]
    found = [path for path in logs if folder / "logs" not in path.parents]
    assert len(found) == 1
    return found[0]


async def test_a_chatty_pod_does_not_fill_its_cell_with_what_the_worker_has(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        sandbox, container = await shim.pod("sh", "-c", CHATTY, uid="u1")
        log = tmp_path / "logs/u1/c/0.log"
        await until(lambda: log.exists() and log.stat().st_size > 95 * MIB, 60)
        source = on_cell(tmp_path)
        await until(lambda: source.stat().st_blocks * 512 < 40 * MIB, 60)
        assert source.stat().st_size > 95 * MIB

        await shim.controller.kill()
        await shim.controller.start()
        shim.redial()
        await shim.said(container, "touch /go")
        await until_found(lambda: _ends(log, b"the last\n"), 60)
        assert whole_lines(log) == LINES + 1
        await shim.remove(sandbox)


async def test_a_worker_that_has_lost_its_copy_says_so_in_the_new_one(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        _, container = await shim.pod("sh", "-c", CHATTY, uid="u1")
        log = tmp_path / "logs/u1/c/0.log"
        await until(lambda: log.exists() and log.stat().st_size > 95 * MIB, 60)
        source = on_cell(tmp_path)
        await until(lambda: source.stat().st_blocks * 512 < 40 * MIB, 60)
        await shim.controller.kill()
        shutil.rmtree(log.parent)
        await shim.controller.start()
        shim.redial()
        await shim.said(container, "touch /go")
        await until_found(lambda: _ends(log, b"the last\n"), 60)
        with log.open("rb") as file:
            assert b"bytes of this log are missing" in file.readline()
        # The rest is whole lines, none of them zeros.
        assert 0 < whole_lines(log) < LINES


def whole_lines(log: Path) -> int:
    with log.open("rb") as file:
        return sum(line.split(b" ", 3)[2] == b"F" for line in file)


async def _ends(log: Path, end: bytes) -> bool:
    if not log.exists() or log.stat().st_size < len(end):
        return False
    with log.open("rb") as file:
        file.seek(-len(end), os.SEEK_END)
        return file.read() == end
