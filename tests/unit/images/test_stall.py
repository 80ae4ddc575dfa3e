"""The clock of a pull: it stands still for so long, and no longer, and to wait as a registry asks is no standstill."""

from __future__ import annotations

import asyncio

import pytest

from cellagent.images import pull_process
from cellagent.images.pull_process import ProgressTeller

STALL = 8.0


async def test_a_wait_that_a_registry_asks_for_comes_on_top_of_what_a_pull_may_stand_still() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        before = loop.time()
        teller.waits(9.0)
        await asyncio.sleep(0)
    assert before + STALL + 9.0 <= (stall.when() or 0.0) <= loop.time() + STALL + 9.0


async def test_bytes_that_arrive_after_a_wait_count_from_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        teller.waits(3600.0)
        teller.arrived(1)
        await asyncio.sleep(0)
    assert (stall.when() or 0.0) <= loop.time() + STALL
    assert len(told) == 1
