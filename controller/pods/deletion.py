"""Deletion of a pod: by when it is to be over, and whether anybody waits for a cell that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any

from controller.pods.defaults import GRACE_SECONDS

# Beyond the grace, until the cell has said that all is stopped.
LEEWAY = 10.0

StopAll = Callable[[Callable[[], float]], Coroutine[Any, Any, None]]
"""Stops the containers within the grace that is left whenever it is asked for."""


def over_by(metadata: Mapping[str, Any], wanted: float) -> float:
    """The moment by which a pod is written down to be over: a second wish may only bring it forward. Pure."""
    before = metadata.get("deletionTimestamp")
    return min(wanted, datetime.fromisoformat(before).timestamp()) if before else wanted


def asked_before(metadata: Mapping[str, Any], now: float) -> tuple[float, bool]:
    """The seconds of grace that are left of a deletion as it is written down, and whether it is by force. Pure.

    Where the clock was ahead when it was asked for, its moment is far off: the grace is not longer for that.
    """
    by = datetime.fromisoformat(metadata["deletionTimestamp"])
    grace = metadata.get("deletionGracePeriodSeconds", GRACE_SECONDS)
    return min(by.timestamp() - now, grace), grace == 0


class PodDeletion:
    """The requests to delete one pod, by a clock that nobody sets: a grace lasts no longer than it was asked for."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._by = 0.0
        self._hurried = asyncio.Event()
        self.forced = asyncio.Event()
        """Set where nobody waits for a cell that does not answer."""

    def request(self, grace: float, *, forced: bool) -> None:
        """The pod is to be over in so many seconds."""
        by = time.monotonic() + grace
        if forced:
            self.forced.set()
        # Who asks again may shorten the grace, and begins no other.
        if forced or not self._asked.is_set() or by < self._by:
            self._by = by
            self._hurried.set()
        self._asked.set()

    async def requested(self) -> None:
        """Wait for the first request."""
        await self._asked.wait()

    async def stopped(self, stop_all: StopAll, forced_leeway: Callable[[], float]) -> None:
        """Stop the pod; a second deletion with less grace stops it sooner; a cell that is not there is no matter.

        `forced_leeway` is how long beyond the grace a forced deletion waits.
        """
        while True:
            self._hurried.clear()
            by = self._by
            leeway = forced_leeway() if self.forced.is_set() else LEEWAY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(by - time.monotonic(), 0.0) + leeway):
                    if await self._ended(stop_all):
                        return
            if self._by == by:
                return

    async def _ended(self, stop_all: StopAll) -> bool:
        """True once all is stopped, False where the grace was shortened meanwhile."""
        stopping = stop_all(lambda: max(self._by - time.monotonic(), 0.0))
        async with asyncio.TaskGroup() as tasks:
            stop = tasks.create_task(stopping)
            woken = tasks.create_task(self._hurried.wait())
            await asyncio.wait({stop, woken}, return_when=asyncio.FIRST_COMPLETED)
            done = stop.done()
            stop.cancel()
            woken.cancel()
        return done
