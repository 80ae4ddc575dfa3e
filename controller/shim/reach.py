"""The way to a cell that may just be redialling: after a restart of the controller every cell does, within a second."""

from __future__ import annotations

import asyncio

from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.model.names import CellName

# Longer than a cell's pause between two tries to dial, shorter than a kubelet's deadlines (2 minutes).
PATIENCE = 20.0


async def reach(cells: Cells, cell: CellName, patience: float = PATIENCE) -> Channel:
    """The channel to a cell, waited for. Raises Fault: UNAVAILABLE if the cell is over, UNREACHABLE if it is away."""
    try:
        async with asyncio.timeout(patience):
            return await cells.connected(cell)
    except TimeoutError as error:
        cause = f"it has not been connected for {patience:g} s"
        raise Fault(Kind.UNREACHABLE, f"cell {cell}", cause, "it redials by itself; ask again") from error
