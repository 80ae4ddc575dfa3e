"""What is given back at leisure must not end the shim when it cannot be given back now."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from cellwire.faults import Fault, Kind
from controller.shim import room
from controller.shim.sandboxes import SandboxCalls
from controller.shim.stock import Stock


class Failing:
    """Cells that cannot be released, as while the store is away; counts how often it was tried."""

    def __init__(self) -> None:
        self.tried = 0

    async def release_abandoned(self) -> None:
        self.tried += 1
        raise Fault(Kind.UNAVAILABLE, "the store", "it does not answer")

    async def release_idle(self) -> None: ...


async def test_a_store_that_is_away_for_a_moment_does_not_end_the_sweeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ABANDONED_EVERY", 0)
    failing = Failing()
    sweeper = asyncio.create_task(
        room._release_abandoned(cast("SandboxCalls", failing), cast("Stock", failing))  # pyright: ignore[reportPrivateUsage]
    )
    async with asyncio.timeout(10):
        while failing.tried < 3:
            await asyncio.sleep(0)
    sweeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweeper
