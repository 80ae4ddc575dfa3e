"""Warm cells: how many are wanted, which of them suits a pod, which are too many. Pure.

A warm cell never had a pod. A fixed number of each class is kept; none by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from controller.choice.filters import rejection
from controller.choice.wishes import Wishes
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.model.offer import Demand
from controller.model.steps import LIVE

# The nearer to ready, the better.
NEARNESS = {CellState.READY: 0, CellState.BOOTING: 1, CellState.LAUNCHING: 2, CellState.REQUESTED: 3}


class Class(msgspec.Struct, frozen=True):
    """So many warm cells for pods of at most this demand."""

    count: int
    demand: Demand


class PoolPlan(msgspec.Struct, frozen=True):
    """Warm cells to request, one for each demand, and those to let go."""

    request: tuple[Demand, ...] = ()
    surplus: tuple[CellName, ...] = ()


def warm(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells that are for nobody yet."""
    return tuple(cell for cell in cells if cell.claim is None and cell.state in LIVE)


def plan_pool(cells: Iterable[Cell], classes: Sequence[Class]) -> PoolPlan:
    """What is missing from the wanted number of each class, and what is too much."""
    wanted: Counter[Demand] = Counter()
    for each in classes:
        wanted[each.demand] += each.count
    surplus: list[CellName] = []
    # Those nearest to ready are kept.
    for cell in sorted(warm(cells), key=lambda cell: (NEARNESS[cell.state], cell.created_at, cell.name)):
        if wanted[cell.demand] > 0:
            wanted[cell.demand] -= 1
        else:
            surplus.append(cell.name)
    return PoolPlan(tuple(wanted.elements()), tuple(surplus))


def suitable(cells: Iterable[Cell], demand: Demand, wishes: Wishes) -> tuple[CellName, ...]:
    """Warm cells on whose instance a pod fits, the best first: nearest to ready, then cheapest."""
    fitting = [
        cell
        for cell in warm(cells)
        if cell.offer is not None
        and not rejection(demand, wishes, cell.offer)[0]
        and (not wishes.max_price or cell.offer.usd_per_hour <= wishes.max_price)
    ]
    fitting.sort(key=_order)
    return tuple(cell.name for cell in fitting)


def _order(cell: Cell) -> tuple[bool, int, float, CellName]:
    price = cell.offer.usd_per_hour if cell.offer else 0.0
    return (not cell.connected, NEARNESS[cell.state], price, cell.name)
