"""The clock of a pull: it stands still for so long, and no longer, and to wait as a registry asks is no standstill."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from cellagent.images import pull_process
from cellagent.images.messages import PullDelayed, PullProgress
from cellagent.images.pull_process import ProgressTeller

STALL = 8.0


async def test_a_wait_that_a_registry_asks_for_comes_on_top_of_what_a_pull_may_stand_still() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        before = loop.time()
        teller.waits("it says so", 9.0)
        await asyncio.sleep(0)
    assert before + STALL + 9.0 <= (stall.when() or 0.0) <= loop.time() + STALL + 9.0


async def test_bytes_that_arrive_after_a_wait_count_from_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        teller.waits("it says so", 3600.0)
        teller.arrived(1)
        await asyncio.sleep(0)
    assert (stall.when() or 0.0) <= loop.time() + STALL
    delayed, progress = told
    assert isinstance(delayed, PullDelayed)
    assert isinstance(progress, PullProgress)


async def test_a_registry_that_sends_nothing_is_named_in_time_and_not_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL, time.monotonic() - pull_process.QUIET_SECONDS)
        watch = asyncio.create_task(teller.watch())
        await asyncio.sleep(3 * pull_process.LOOK_SECONDS)
        assert told == []  # nobody was asked yet
        teller.asks("r.example")
        await asyncio.sleep(3 * pull_process.LOOK_SECONDS)
        watch.cancel()
    (said,) = told
    assert isinstance(said, PullDelayed)
    assert re.fullmatch(r"no answer of r\.example yet, \d+ s after the image was asked for", said.why)


@pytest.mark.parametrize(("asked", "said"), [(1.0, 0), (pull_process.QUIET_SECONDS, 1)])
async def test_short_waits_are_no_news_until_they_add_up(
    monkeypatch: pytest.MonkeyPatch, asked: float, said: int
) -> None:
    told: list[object] = []
    monkeypatch.setattr(pull_process, "tell", told.append)
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL)
        teller.waits("registry r.example: it answered 503", asked)
        await asyncio.sleep(0)
    assert len(told) == said
    told.clear()
    async with asyncio.timeout(STALL) as stall:
        teller = ProgressTeller("r.example/a:1", stall, STALL, time.monotonic() - pull_process.QUIET_SECONDS)
        teller.waits("registry r.example: it answered 503", asked)
        await asyncio.sleep(0)
    assert told == [PullDelayed(image="r.example/a:1", why="registry r.example: it answered 503")]
