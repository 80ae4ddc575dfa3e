"""What a cell may say of a container's log: nothing that ends more than the copy of that log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from tests.support.hostile import beside_an_attacker, peak, peak_begins

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]

MIB = 1 << 20
LONG = 16 * MIB
# docs/threat-model.md says so of frames; what a log holds is on the disk.
MOST_BYTES = 64 * MIB


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


@pytest.mark.parametrize("line", [b"x" * MIB, b"\n" * MIB], ids=["one line", "no lines"])
async def test_a_log_that_is_one_line_or_none_keeps_nobody_waiting(tmp_path: Path, line: bytes) -> None:
    async with beside_an_attacker(tmp_path) as (controller, cell, honest):

        async def endless(request: wire.LogsRequest) -> AsyncIterator[wire.LogChunk]:
            for at in range(request.offset, LONG, MIB):
                yield wire.LogChunk(offset=at, data=line)
            yield wire.LogChunk(offset=max(LONG, request.offset), end=True)

        cell.script("Logs", endless)
        await cell.until(lambda: cell.answered["Logs"] > 0, seconds=60)
        before = peak_begins(controller)
        async with asyncio.TaskGroup() as tasks:
            for arguments in (("--tail=5",), ("--limit-bytes=1000000",)):
                tasks.create_task(controller.kubectl_raw("logs", "evil", *arguments, seconds=120))
            await honest.holds()
        grown = peak(controller) - before
        print(f"{grown >> 10} KiB more")
        assert grown < MOST_BYTES
        await honest.holds()
