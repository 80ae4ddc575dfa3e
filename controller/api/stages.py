"""How long each stage of a cell's start took, and at which stage cells were lost. Pure.

Moments are of the controller's clock, but those of a pull, which are both of the cell's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.model.cell import Cell, CellState
from controller.model.names import CellName

# Stage → between which moments of a cell it is.
STAGES = {
    "claim-to-launched": ("requested", "booting"),
    "launched-to-joined": ("booting", "ready"),
    "joined-to-ready": ("ready", "connected"),
    "pull": ("pulling", "pulled"),
}
# A cell may tell any moments of its pull, and is given this long for one (`sandboxes.cell_client.PULL`).
LONGEST = 6 * 3600.0
# The furthest moment that a cell which was lost had reached, and what it was doing.
REACHED = (("claimed", "claimed"), ("ready", "ready"), ("booting", "booting"))


class Stages:
    """Sees each cell's changes, and says each stage and loss once. Knows cells until they are gone."""

    def __init__(self, known: Iterable[Cell] = ()) -> None:
        # What an earlier life saw is not said again.
        known = tuple(known)
        self._said: dict[CellName, set[str]] = {cell.name: set(_over(cell)) for cell in known}
        self._lost = {cell.name for cell in known if cell.state is CellState.LOST}

    def took(self, cell: Cell) -> Iterator[tuple[str, float]]:
        """Stages that this change completed, with their seconds."""
        said = self._said.setdefault(cell.name, set())
        for stage in _over(cell):
            if stage not in said:
                said.add(stage)
                begin, end = STAGES[stage]
                yield stage, min(max(0.0, cell.moments[end] - cell.moments[begin]), LONGEST)

    def lost_at(self, cell: Cell) -> str:
        """What a cell that is lost with this change was doing; "" where it is not, or was said."""
        if cell.state is CellState.GONE:
            self._said.pop(cell.name, None)
            self._lost.discard(cell.name)
        if cell.state is not CellState.LOST or cell.name in self._lost:
            return ""
        self._lost.add(cell.name)
        return next((stage for moment, stage in REACHED if moment in cell.moments), "launching")


def _over(cell: Cell) -> Iterator[str]:
    for stage, (begin, end) in STAGES.items():
        if begin in cell.moments and end in cell.moments:
            yield stage
