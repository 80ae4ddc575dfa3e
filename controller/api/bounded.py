"""Keeps labels few: what users and clouds name freely must not become ever more series of a metric. Pure.

Whoever sums up loses nothing: what is too much is added to a row whose label is `OTHERS`, never left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from controller.model import cost
from controller.model.cell import Cell

OTHERS = "(others)"
# Cells that no pod has yet.
NO_POD = "(none)"
UNKNOWN = "(unknown)"
MOST_NAMESPACES, MOST_TYPES, MOST_ROWS = 40, 40, 400
MOST_CODES = 40


class Spend(msgspec.Struct, frozen=True, order=True):
    """A row of spending: USD per hour are summed by namespace, launch type and instance type."""

    namespace: str
    launch_type: str
    instance_type: str


def spend(cells: Iterable[Cell]) -> dict[Spend, float]:
    """USD per hour of what runs now, in at most `MOST_ROWS` rows and some for the rest."""
    rows: defaultdict[Spend, float] = defaultdict(float)
    for cell in cells:
        if cell.instance is not None:
            namespace = cell.claim.pod.namespace if cell.claim else NO_POD
            offer = cell.offer
            bought = (offer.launch_type.value, offer.shape.type) if offer is not None else (UNKNOWN, UNKNOWN)
            rows[Spend(namespace, *bought)] += cost.usd_per_hour(cell)
    namespaces = _dearest(rows, "namespace", MOST_NAMESPACES)
    types = _dearest(rows, "instance_type", MOST_TYPES)
    folded: defaultdict[Spend, float] = defaultdict(float)
    for row, usd in rows.items():
        namespace = row.namespace if row.namespace in namespaces else OTHERS
        type_name = row.instance_type if row.instance_type in types else OTHERS
        folded[Spend(namespace, row.launch_type, type_name)] += usd
    return _capped(folded)


def _capped(rows: Mapping[Spend, float]) -> dict[Spend, float]:
    """The dearest rows as they are, the others without their instance type."""
    ordered = sorted(rows, key=lambda row: (-rows[row], row))
    kept = defaultdict(float, {row: rows[row] for row in ordered[:MOST_ROWS]})
    for row in ordered[MOST_ROWS:]:
        kept[Spend(row.namespace, row.launch_type, OTHERS)] += rows[row]
    return dict(kept)


def _dearest(rows: Mapping[Spend, float], label: str, most: int) -> frozenset[str]:
    """The values of a label on which most is spent."""
    totals: defaultdict[str, float] = defaultdict(float)
    for row, usd in rows.items():
        totals[getattr(row, label)] += usd
    return frozenset(sorted(totals, key=lambda value: (-totals[value], value))[:most])


class Codes:
    """Codes of errors as a label: the first `MOST_CODES` that come, and `OTHERS` from then on."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, code: str) -> str:
        """What to count a code under."""
        if code in self._known or len(self._known) < MOST_CODES:
            self._known.add(code)
            return code
        return OTHERS

    def counted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Counts by label."""
        labelled: Counter[str] = Counter()
        for code, count in counts.items():
            labelled[self.label(code)] += count
        return dict(labelled)
