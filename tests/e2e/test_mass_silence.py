"""A controller that stood still for longer than leases last loses none of its many cells; one that is gone it loses.

The controller is stopped for so long that its cells' pings are not answered either, so all of them redial at once.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.light_cells_process import ControllerProcess, end, players

pytestmark = [pytest.mark.timeout(600), pytest.mark.waits]
CELLS = 100
LEASE = 6.0
# Pings are ten seconds apart, and their answers are waited for as long.
STOPPED = 26.0


async def test_cells_of_a_controller_that_stood_still_live_on_and_a_single_one_that_ends_is_lost(
    tmp_path: Path,
) -> None:
    controller = ControllerProcess(tmp_path, LEASE)
    await controller.start(CELLS)
    try:
        async with players(tmp_path, (controller.port,), CELLS):
            await controller.until_all(CELLS)
            controller.signal(signal.SIGSTOP)
            await asyncio.sleep(STOPPED)
            controller.signal(signal.SIGCONT)
            told = await controller.until_all(CELLS)
            assert (told["cells"], told["lost"]) == (CELLS, 0)

            end(tmp_path, "c-7")
            async with asyncio.timeout(300):
                while (told := await controller.ask("told"))["cells"] == CELLS:
                    await asyncio.sleep(0.2)
            assert told["cells"] == CELLS - 1
            names = (await controller.ask("names"))["connected"]
            assert "c-7" not in names
            assert len(names) == CELLS - 1, "no other was lost with it"
    finally:
        controller.signal(signal.SIGCONT)
        await controller.kill()
