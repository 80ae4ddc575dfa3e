"""Ends the cells of workers that will not come back, since nobody else would: they are paid for by the hour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog

from cellwire.faults import Fault
from controller.central.worker_registry import WorkerRegistry
from controller.fleet.cells import Cells
from controller.model.cell import Cell
from controller.model.transitions import LIVE

log = structlog.get_logger()
LOOK_EVERY = 10.0
PAUSE = 30.0
"""More than that between two looks: we were stopped."""


async def retire(cells: Cells, worker: str, why: str) -> int:
    """Retire all cells that a worker has claimed; how many. Raises Fault."""
    theirs = _held(cells, lambda cell: cell.claim is not None and cell.claim.worker == worker)
    for cell in theirs:
        await cells.release(cell.name, why)
    return len(theirs)


class WorkerSilence:
    """How long each worker has been silent, as far as we have listened: a pause of ours is no silence of theirs, and
    neither is a wall clock that was set.
    """

    def __init__(self, heard_at: Callable[[str], float], lease: float, now: float) -> None:
        self._heard_at = heard_at
        self._lease = lease
        self._looked = now
        self._silent: dict[str, tuple[float, float]] = {}
        """When each was last heard of, and the look that first found it so."""

    def silent(self, workers: Iterable[str], now: float) -> list[str]:
        """Workers of which nothing was heard for a lease, by name. To be asked often; `now` is no wall clock's."""
        before = {} if now - self._looked > PAUSE else self._silent
        self._looked = now
        heard = {one: self._heard_at(one) for one in sorted(set(workers))}
        self._silent = {
            one: before[one] if one in before and before[one][0] == at else (at, now) for one, at in heard.items()
        }
        return [one for one, (_, since) in self._silent.items() if now - since > self._lease]


@asynccontextmanager
async def running(
    cells: Cells, registry: WorkerRegistry, lease: float, now: Callable[[], float]
) -> AsyncGenerator[None]:
    """Retire the cells of workers of which nothing was heard for `lease` seconds; 0: of none."""
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(_retire_of_silent(cells, registry, lease, now), name="silent workers")
        try:
            yield
        finally:
            looking.cancel()


async def _retire_of_silent(cells: Cells, registry: WorkerRegistry, lease: float, now: Callable[[], float]) -> None:
    listening = WorkerSilence(registry.heard_at, lease, now())
    while lease:
        await asyncio.sleep(LOOK_EVERY)
        workers = [cell.claim.worker for cell in _held(cells, lambda _: True) if cell.claim is not None]
        for worker in listening.silent(workers, now()):
            why = f"its worker {worker} has been silent for {lease:g} s"
            try:
                ended = await retire(cells, worker, why)
            except Fault as fault:
                log.warning("cells of a silent worker are retired later", worker=worker, cause=str(fault))
            else:
                log.warning("cells of a silent worker are retired", worker=worker, cells=ended)


def _held(cells: Cells, wanted: Callable[[Cell], bool]) -> list[Cell]:
    return [cell for cell in cells.list() if cell.claim and cell.claim.worker and cell.state in LIVE and wanted(cell)]
