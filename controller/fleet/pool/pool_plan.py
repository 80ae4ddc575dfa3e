"""Which warm cells to request and which to let go. Pure.

What is wanted of all classes together is cut to the bound in USD per hour: fixed numbers first, in the order of the
classes, then whatever brings most hits per dollar. A request is made only if all warm cells, it included and each at
the most that it may cost, stay within the bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from controller.fleet.pool.warm_cells import NEARNESS, Class, Versions, outdated, stands_by_for, usd_per_hour, warm
from controller.model.cell import Cell, CellState, Standby
from controller.model.names import CellName
from controller.model.offer import Demand

# What is there is worth so much more than what would have to be bought in its place: classes that compete for the bound
# must not take turns.
INCUMBENT = 2.0
# The launch may fall back to dearer offers, up to so many times the cheapest.
DEARER = 1.5
# Sums of prices that are within the bound on paper.
CENT = 1e-9


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """The outlook of one class of warm cells: what is wanted of it now.

    Up to `want` are requested and up to `keep` are kept; of those beyond, `release` may go. `worth` are the hits per
    idle second that the first, second … cell adds. `usd_per_hour` is what one costs, None where none can be had.
    """

    want: int
    keep: int
    release: int = 0
    worth: tuple[float, ...] = ()
    usd_per_hour: float | None = None


class Request(msgspec.Struct, frozen=True):
    """A warm cell to request."""

    demand: Demand
    standby: Standby


class PoolPlan(msgspec.Struct, frozen=True):
    """Warm cells to request, and those to let go with the reason."""

    request: tuple[Request, ...] = ()
    surplus: dict[CellName, str] = {}


class _Stock(msgspec.Struct):
    """One class's cells, best first. `current` are kept as they are, `old` are to be replaced."""

    of: Class
    outlook: Outlook
    current: list[Cell]
    old: list[tuple[Cell, str]]
    granted: int = 0

    @property
    def lacking(self) -> int:
        """How many to request; none while none can be had."""
        if self.outlook.usd_per_hour is None:
            return 0
        return max(min(self.granted, self.outlook.want) - len(self.current), 0)

    @property
    def cost(self) -> float:
        """What one more costs, in USD per hour."""
        return self.outlook.usd_per_hour or 0.0

    def price(self, index: int) -> float:
        """What the cell at this place of the stock costs, whether it is there or not."""
        return usd_per_hour(self.current[index]) if index < len(self.current) else self.cost


def plan_pool(
    cells: Iterable[Cell],
    wanted: Sequence[tuple[Class, Outlook]],
    versions: Versions,
    now: float,
    bound: float = 0.0,
) -> PoolPlan:
    """The plan for all classes; `bound` in USD per hour, 0 for none."""
    all_warm = sorted(warm(cells), key=lambda cell: (NEARNESS[cell.state], cell.created_at, cell.name))
    limit = bound or float("inf")
    stocks = [_stock(each, outlook, all_warm, versions, now) for each, outlook in wanted]
    _grant(stocks, limit)
    free = limit - sum(usd_per_hour(cell) for cell in all_warm)
    named = {stock.of.name for stock in stocks}
    surplus = {
        cell.name: "no class of warm cells wants it"
        for cell in all_warm
        if cell.standby is None or cell.standby.of not in named
    }
    asked: list[_Stock] = []
    short: set[str] = set()
    for stock in stocks:
        for _ in range(stock.lacking):
            if stock.cost > free + CENT:
                short.add(stock.of.name)
                break
            free -= stock.cost
            asked.append(stock)
    for stock in stocks:
        surplus.update(_surplus(stock, bound_reached=bool(short) or free < -CENT))
        surplus.update(_replaced(stock, bound_reached=stock.of.name in short or free < -CENT))
    return PoolPlan(_requests(asked, versions, free), surplus)


def _stock(each: Class, outlook: Outlook, all_warm: Sequence[Cell], versions: Versions, now: float) -> _Stock:
    stock = _Stock(each, outlook, [], [])
    for cell in all_warm:
        if stands_by_for(cell, each):
            why = outdated(cell, each, versions, now)
            if why:
                stock.old.append((cell, why))
            else:
                stock.current.append(cell)
    return stock


def _grant(stocks: Sequence[_Stock], limit: float) -> None:
    """How many cells each class may have: the fixed ones first, then by hits per dollar, then what is only kept."""
    left = limit
    units = sorted(unit for place, stock in enumerate(stocks) for unit in _units(stock, place))
    full: set[int] = set()
    for _, _, index, place in units:
        stock = stocks[place]
        if place in full or stock.price(index) > left + CENT:
            full.add(place)
            continue
        left -= stock.price(index)
        stock.granted += 1


def _units(stock: _Stock, place: int) -> Iterator[tuple[int, float, int, int]]:
    """The cells that a class could have, each with its rank among those of all; never the next before the first."""
    least = float("inf")
    for index in range(max(stock.outlook.keep, stock.outlook.want)):
        here = index < len(stock.current)
        order = 0 if index < stock.of.count else 1 if index < stock.outlook.want else 2
        if not here and (order == 2 or stock.outlook.usd_per_hour is None):
            return
        worth = stock.outlook.worth[index] if index < len(stock.outlook.worth) else 0.0
        least = min(least, worth * (INCUMBENT if here else 1.0) / max(stock.price(index), CENT))
        yield order, place if order == 0 else -least, index, place


def _requests(asked: Sequence[_Stock], versions: Versions, free: float) -> tuple[Request, ...]:
    """One request each; what is left of the bound is what they may cost beyond the cheapest."""
    requests: list[Request] = []
    for place, stock in enumerate(asked):
        beyond = min(stock.cost * (DEARER - 1), max(free, 0.0) / (len(asked) - place))
        free -= beyond
        standby = Standby(
            of=stock.of.name,
            max_price=stock.cost + beyond,
            annotations=stock.of.annotations,
            agent=versions.agent,
            image=versions.image,
        )
        requests.append(Request(stock.of.demand, standby))
    return tuple(requests)


def _surplus(stock: _Stock, *, bound_reached: bool) -> Mapping[CellName, str]:
    """Cells beyond what is wanted go slowly, at the bound at once; those farthest from ready first."""
    beyond = stock.current[stock.granted :]
    if not bound_reached:
        beyond = beyond[::-1][: stock.outlook.release]
    why = "warm cells would cost more than is allowed" if bound_reached else "the pool has more than are wanted"
    return {cell.name: why for cell in beyond}


def _replaced(stock: _Stock, *, bound_reached: bool) -> Mapping[CellName, str]:
    """Old cells stay until a new one is ready in their place; one goes first where the bound has no room for both."""
    ready = sum(cell.state is CellState.READY for cell in stock.current)
    staying = max(stock.granted - ready, 0)
    if bound_reached:
        staying = max(min(staying, len(stock.old) - 1), 0)
    return {cell.name: why for cell, why in stock.old[staying:]}
