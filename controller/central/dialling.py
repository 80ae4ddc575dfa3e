"""Tells the cells of one worker to dial its shim, for as long as that watches: once on each connection of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.reverse import worker_host
from controller.fleet.cells import Cells
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.sandboxes.cell_calls import PATIENCE
from controller.sandboxes.cell_client import OneCell

log = structlog.get_logger()
AGAIN_SECONDS = 2.0
TOLD = frozenset({CellState.READY, CellState.CLAIMED})


class Dialling:
    """Cells of a worker that have been told to dial it."""

    def __init__(self, tasks: asyncio.TaskGroup, cells: Cells, worker: str, addresses: Sequence[str]) -> None:
        self._tasks = tasks
        self._cells = cells
        self._request = wire.DialWorkerRequest(name=worker_host(worker), addresses=addresses)
        self._told: set[CellName] = set()

    def heed(self, cell: Cell) -> None:
        """A cell of the worker's has changed."""
        if cell.state not in TOLD or not cell.connected:
            self._told.discard(cell.name)
        elif cell.name not in self._told:
            self._told.add(cell.name)
            self._tasks.create_task(self._tell(cell.name), name=f"have {cell.name} dial its worker")

    async def _tell(self, name: CellName) -> None:
        while name in self._told:
            try:
                await OneCell(self._cells, name, patience=PATIENCE).dial_worker(self._request)
            except Fault as fault:
                if fault.kind is Kind.UNSUPPORTED:
                    log.warning("a cell's agent knows no workers: launch cells with a newer one", cell=name)
                    return
                log.info("a cell is told later which worker to dial", cell=name, cause=str(fault))
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return
