"""What a cell may say of a container's log: nothing that ends more than the copy of that log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from tests.support.hostile import beside_an_attacker

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(300)]


async def test_a_position_beyond_all_numbers_ends_no_more_than_its_log(tmp_path: Path) -> None:
    async with beside_an_attacker(tmp_path) as (controller, cell, honest):
        cell.say("Logs", wire.LogChunk(offset=2**64 - 2, data=b"x" * 1000, gone=2**64 - 1))
        await cell.until(lambda: cell.answered["Logs"] > 0)
        await honest.holds()
        assert controller.process is not None
        assert controller.process.returncode is None, controller.words()

        answered, connections = cell.answered["Logs"], cell.connections
        await controller.kill()
        await controller.start()
        await cell.until(lambda: cell.connections > connections)
        await cell.until_asked("Logs", times=answered + 1)
        await honest.holds()
