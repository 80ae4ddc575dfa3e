"""Work that belongs to one pod or one cell: what goes wrong in it is told with the owner's name, and ends nothing else.

A fault has been answered by who raised it, and is for the caller. Anything else is a mistake of ours, and often one
that somebody else has provoked: the work is begun anew after a pause, for as long as its owner is there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog

from cellwire.faults import Fault

log = structlog.get_logger()
SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


def _nobody(said: str) -> None:
    del said


class Supervisor:
    """Keeps work going. `failures` counts by the kind of work what was no fault, since the start."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()

    async def keep(
        self, kind: str, owner: str, work: Callable[[], Awaitable[None]], told: Callable[[str], None] = _nobody
    ) -> None:
        """Do the work to its end, begun anew whenever it fails; `told` is given a sentence each time. Raises Fault."""
        tries = 0
        while True:
            begun = time.monotonic()
            try:
                await work()
            except Exception as error:
                heed_cancellation()
                cause = leaf(error)
                if isinstance(cause, Fault):
                    raise cause from error
                self.failures[kind] += 1
                log.exception("work failed", kind=kind, owner=owner)
                told(f"{kind}: {type(cause).__name__}, see the controller's log; it is tried again")
            else:
                return
            tries = 0 if time.monotonic() - begun > LONGEST_PAUSE else tries + 1
            await asyncio.sleep(_pause(tries))

    async def persist(
        self, kind: str, owner: str, work: Callable[[], Awaitable[None]], told: Callable[[str], None] = _nobody
    ) -> None:
        """As `keep`, but after a fault too: the work is to be done, whatever there is against it now."""
        tries = 0
        while True:
            begun = time.monotonic()
            try:
                await self.keep(kind, owner, work, told)
            except Fault as fault:
                heed_cancellation()
                log.warning("work is tried again", kind=kind, owner=owner, cause=str(fault))
                told(f"tried again: {fault}")
            else:
                return
            tries = 0 if time.monotonic() - begun > LONGEST_PAUSE else tries + 1
            await asyncio.sleep(_pause(tries))


def heed_cancellation() -> None:
    """Raise CancelledError where this task was asked to end.

    A TaskGroup that is cancelled while one of its tasks fails tells of the failure alone (CPython 3.11 and 3.12): who
    goes on after that failure would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _pause(tries: int) -> float:
    return min(SHORTEST_PAUSE * 2.0 ** min(max(tries - 1, 0), 10), LONGEST_PAUSE)


def leaf(error: BaseException) -> BaseException:
    """The first error of a group that is no fault, or else its first fault; the error itself where it is no group."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [leaf(one) for one in error.exceptions]
    return next((one for one in leaves if not isinstance(one, Fault)), leaves[0])
