"""The work item of one cell: what the reconciler knows of it beside its record, in this life of the controller only."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from controller.model.cell import CellState
from controller.model.instance import Instance

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0


@dataclass(slots=True)
class WorkItem:
    """Work item of one cell. Times are unix seconds but for `not_before`, 0 for never.

    `state` is the one that was last looked at. `instance` is the cell's in the last list of instances, `missing_since`
    the first list in a row without it. `callers` is how many wait for the cell now, `asked_at` when one last came or
    went. `terminated_at` is when the end of its instance was last asked for. `dirty` tells that it is to be looked at
    (again), `worker` is the task that does. After a failure it is left alone until `not_before`, `backoff` seconds on,
    by the event loop's clock: nobody sets that back.
    """

    state: CellState | None = None
    instance: Instance | None = None
    missing_since: float = 0.0
    callers: int = 0
    asked_at: float = 0.0
    terminated_at: float = 0.0
    dirty: bool = False
    worker: asyncio.Task[None] | None = None
    backoff: float = 0.0
    not_before: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether nobody works on the cell, nor waits for it."""
        return self.worker is None and not self.callers

    def failed(self, now: float) -> float:
        """Leave it alone for a while, twice as long as after the failure before; returns for how many seconds."""
        self.backoff = min(self.backoff * 2 or FIRST_WAIT, LONGEST_WAIT)
        self.not_before = now + self.backoff
        return self.backoff

    def set_back(self, now: float) -> None:
        """The clock was set back: nothing here is from times to come."""
        self.missing_since = min(self.missing_since, now)
        self.asked_at = min(self.asked_at, now)

    def without_cell(self) -> WorkItem:
        """What is left of the item when its cell is gone: those who still work on it, or wait for it."""
        return WorkItem(callers=self.callers, worker=self.worker)
