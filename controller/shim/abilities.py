"""Features of cells, for the questions that a kubelet asks of a whole node: the features of its runtime.

All cells of a cluster boot one image, so any connected cell is asked, once, as soon as there is one: one that no pod
has had, if there is one, since its answer is for all. A kubelet's questions are answered from what is known by then;
it asks again every few seconds.
"""

from __future__ import annotations

import asyncio

import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.fleet.cells import Cells
from controller.model.cell import Cell
from controller.sandboxes.cell_client import OneCell

log = structlog.get_logger()
LOOK_EVERY = 0.25
HANDLERS = ("", "chinampa")


class Abilities:
    """Features that the first cell has told; until then those of every cell."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._features = cri.RuntimeFeatures(supplemental_groups_policy=True)
        self._handlers = tuple(
            cri.RuntimeHandler(name=name, features=cri.RuntimeHandlerFeatures()) for name in HANDLERS
        )

    def status(self) -> cri.StatusResponse:
        """Ready, whatever single cells are: a node without cells takes pods as well."""
        conditions = [cri.RuntimeCondition(type=name, status=True) for name in ("RuntimeReady", "NetworkReady")]
        return cri.StatusResponse(
            status=cri.RuntimeStatus(conditions=conditions), runtime_handlers=self._handlers, features=self._features
        )

    async def find_out(self) -> None:
        """Ask the connected cells until one has answered."""
        while True:
            for cell in sorted(self._cells.list(), key=lambda one: one.claim is not None):
                if cell.connected and await self._learn(cell):
                    return
            await asyncio.sleep(LOOK_EVERY)

    async def _learn(self, cell: Cell) -> bool:
        try:
            told = await OneCell(self._cells, cell.name, patience=0.0).abilities(HANDLERS)
        except Fault as fault:
            log.info("a cell did not say what it can do", cell=cell.name, cause=str(fault))
            return False
        self._features, self._handlers = told.features, tuple(told.runtime_handlers)
        return True
