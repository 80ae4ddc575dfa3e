"""Ends the cells of workers that will not come back, since nobody else would: they are paid for by the hour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog

from cellwire.faults import Fault
from controller.central.registry import Registry
from controller.fleet.cells import Cells
from controller.model.cell import Cell
from controller.model.steps import LIVE

log = structlog.get_logger()
LOOK_EVERY = 10.0


async def retire(cells: Cells, worker: str, why: str) -> int:
    """Retire all cells that a worker has claimed; how many. Raises Fault."""
    theirs = _held(cells, lambda cell: cell.claim is not None and cell.claim.worker == worker)
    for cell in theirs:
        await cells.release(cell.name, why)
    return len(theirs)


@asynccontextmanager
async def running(cells: Cells, registry: Registry, lease: float) -> AsyncGenerator[None]:
    """Retire the cells of workers of which nothing was heard for `lease` seconds; 0: of none."""
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(_retire_of_silent(cells, registry, lease), name="silent workers")
        try:
            yield
        finally:
            looking.cancel()


async def _retire_of_silent(cells: Cells, registry: Registry, lease: float) -> None:
    while lease:
        await asyncio.sleep(LOOK_EVERY)
        now = time.time()
        workers = {cell.claim.worker for cell in _held(cells, lambda _: True) if cell.claim is not None}
        for worker in sorted(workers):
            if now - registry.heard_at(worker) > lease:
                why = f"its worker {worker} has been silent for {lease:g} s"
                try:
                    ended = await retire(cells, worker, why)
                except Fault as fault:
                    log.warning("cells of a silent worker are retired later", worker=worker, cause=str(fault))
                else:
                    log.warning("cells of a silent worker are retired", worker=worker, cells=ended)


def _held(cells: Cells, wanted: Callable[[Cell], bool]) -> list[Cell]:
    return [cell for cell in cells.list() if cell.claim and cell.claim.worker and cell.state in LIVE and wanted(cell)]
