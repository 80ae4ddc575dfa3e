"""Which networks lead to which instances, by the annotation `chinampa.dev/cloud-route` of the pods on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from controller.choice.requirements import PREFIX, networks
from controller.model.cell import Cell, CellState
from controller.model.names import InstanceId

# A cell that ends takes nothing more; its networks may be somebody else's by now.
_ROUTED = frozenset({CellState.BOOTING, CellState.READY, CellState.CLAIMED})


def networks_of(cell: Cell) -> tuple[str, ...]:
    """What the pod of a cell wants to be led to it."""
    text = cell.claim.annotations.get(f"{PREFIX}cloud-route", "") if cell.claim else ""
    try:
        return networks(text) if text else ()
    except ValueError:
        return ()


def routes(cells: Iterable[Cell]) -> dict[InstanceId, tuple[str, ...]]:
    """By instance, of the cells that are there; the older cell first."""
    there = [cell for cell in cells if cell.instance is not None and cell.state in _ROUTED]
    found = {cell.instance: networks_of(cell) for cell in sorted(there, key=lambda cell: (cell.created_at, cell.name))}
    return {instance: wanted for instance, wanted in found.items() if instance is not None and wanted}
