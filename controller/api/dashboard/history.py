"""How many cells there were, and what they cost, over the last while. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

import msgspec

from controller.model import cost
from controller.model.cell import Cell, CellState

EVERY = 5.0
# An hour of samples.
KEPT = 720
# What a person tells apart, by the states of cells.
GROUPS = {
    CellState.REQUESTED: "starting",
    CellState.LAUNCHING: "starting",
    CellState.BOOTING: "starting",
    CellState.READY: "warm",
    CellState.CLAIMED: "running",
    CellState.RETIRING: "ending",
    CellState.LOST: "lost",
}


class Sample(msgspec.Struct, frozen=True):
    """One moment (unix seconds): cells by group and namespace ("" for cells that no pod has), and USD per hour so."""

    at: float
    cells: dict[str, dict[str, int]]
    usd_per_hour: dict[str, float]


def sample(cells: Iterable[Cell], now: float) -> Sample:
    """What there is now."""
    counts: dict[str, Counter[str]] = {}
    usd: defaultdict[str, float] = defaultdict(float)
    for cell in cells:
        namespace = namespace_of(cell)
        if (group := GROUPS.get(cell.state)) is not None:
            counts.setdefault(namespace, Counter())[group] += 1
        if cell.instance is not None:
            usd[namespace] += cost.usd_per_hour(cell)
    return Sample(now, {name: dict(found) for name, found in counts.items()}, dict(usd))


def namespace_of(cell: Cell) -> str:
    """The namespace of a cell's pod; "" where it has none."""
    return cell.claim.pod.namespace if cell.claim else ""


class SampleHistory:
    """The samples of the last hour."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)

    def add(self, one: Sample) -> None:
        """The newest sample."""
        self.samples.append(one)

    def seen(self, namespace: str) -> list[list[float]]:
        """Rows of moment, running, starting, warm, ending, lost and USD per hour, of one namespace or ("") of all."""
        return [_row(one, namespace) for one in self.samples]


def _row(one: Sample, namespace: str) -> list[float]:
    chosen = one.cells.values() if not namespace else [one.cells.get(namespace, {})]
    counts: Counter[str] = Counter()
    for found in chosen:
        counts.update(found)
    usd = sum(one.usd_per_hour.values()) if not namespace else one.usd_per_hour.get(namespace, 0.0)
    groups = ("running", "starting", "warm", "ending", "lost")
    return [round(one.at), *(counts[group] for group in groups), round(usd, 6)]
