"""Floods of HTTP/2 frames from cells' own connections: cut off or slowed down, and the honest pod goes on."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.hostile import beside_pods, in_place_of_its_agent, peak, peak_begins
from tests.support.hostile_frames import FLOODS, RawCell

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]

# docs/threat-model.md says so of one cell's floods.
MOST_BYTES = 64 << 20
AT_ONCE = 4
SECONDS = 3.0


async def test_no_flood_of_frames_takes_the_controller_away_from_an_honest_pod(tmp_path: Path) -> None:
    names = [what.__name__.replace("_", "-") for what in FLOODS]
    async with beside_pods(tmp_path, *names, lease=300) as (controller, honest), AsyncExitStack() as stack:
        cells = {cell["pod"].partition("/")[2]: cell for cell in await controller.cells()}
        raw = [
            RawCell(*await stack.enter_async_context(in_place_of_its_agent(controller, cells[name]))) for name in names
        ]
        for first in range(0, len(FLOODS), AT_ONCE):
            these = list(zip(names, FLOODS, raw, strict=True))[first : first + AT_ONCE]
            before = peak_begins(controller)
            async with asyncio.TaskGroup() as tasks:
                for _, what, cell in these:
                    tasks.create_task(cell.flood(what, SECONDS))
                await honest.holds()
            grown = peak(controller) - before
            for name, _, cell in these:
                print(f"{name}: {cell.connections} connections, {cell.sent >> 10} KiB sent")
                assert cell.connections > 0, name
            print(f"{grown >> 10} KiB more")
            assert grown < MOST_BYTES * AT_ONCE
        assert controller.process is not None
        assert controller.process.returncode is None, controller.words()
        controller.without_traceback()
