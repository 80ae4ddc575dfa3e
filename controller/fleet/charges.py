"""Charges: what cells have cost, hour by hour and pod by pod. Pure.

A cell is charged from its launch, at least for what is billed at least; spot at the price of each moment, as far as the
cloud tells it, all else at the price of its launch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from controller.model import cost
from controller.model.cell import Cell, CellState
from controller.model.offer import LaunchType, Offer

HOUR = 3600
OVER = frozenset({CellState.GONE, CellState.LOST})


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What one cell cost for one pod ("" while it had none) within one hour, of which `hour` is the unix second at its
    start. `until` is the moment up to which it is charged.
    """

    hour: int
    cell: str
    uid: str = ""
    namespace: str = ""
    pod: str = ""
    labels: dict[str, str] = {}
    type: str = ""
    launch_type: str = ""
    zone: str = ""
    usd: float = 0.0
    seconds: float = 0.0
    until: float = 0.0

    @property
    def key(self) -> str:
        """Where it is stored."""
        return f"{self.hour}/{self.cell}/{self.uid}"


def paid(cell: Cell) -> bool:
    """Whether somebody pays for the cell now."""
    return cell.instance is not None and cell.offer is not None and cell.state not in OVER


def price(cell: Cell, sold: Mapping[tuple[str, str, LaunchType], float]) -> float:
    """USD per hour of a cell now."""
    offer = cell.offer
    if offer is None:
        return 0.0
    if offer.launch_type is LaunchType.SPOT:
        return sold.get((offer.shape.type, offer.zone, offer.launch_type), offer.usd_per_hour)
    return offer.usd_per_hour


def spot_prices(cells: Iterable[Cell], offers: Iterable[Offer]) -> dict[tuple[str, str, LaunchType], float]:
    """The prices of now of the spot that these cells are; nothing is looked for where none is."""
    bought = [cell.offer for cell in cells if cell.offer is not None and cell.offer.launch_type is LaunchType.SPOT]
    wanted = {(one.shape.type, one.zone, one.launch_type) for one in bought}
    if not wanted:
        return {}
    keyed = (((one.shape.type, one.zone, one.launch_type), one.usd_per_hour) for one in offers)
    return {key: usd for key, usd in keyed if key in wanted}


def charges(cell: Cell, since: float, now: float, usd_per_hour: float) -> Iterator[Charge]:
    """Charges to be added for a cell that is charged up to `since` (0: not at all yet)."""
    begin = since or cost.launched_at(cell)
    end = now if since else max(now, begin + cost.LEAST_SECONDS)
    claim, offer = cell.claim, cell.offer
    while begin < end:
        hour = int(begin // HOUR * HOUR)
        until = min(end, hour + HOUR)
        yield Charge(
            hour=hour,
            cell=str(cell.name),
            uid=str(claim.pod.uid) if claim else "",
            namespace=claim.pod.namespace if claim else "",
            pod=claim.pod.name if claim else "",
            labels=dict(claim.labels) if claim else {},
            type=offer.shape.type if offer else "",
            launch_type=offer.launch_type.value if offer else "",
            zone=offer.zone if offer else "",
            usd=usd_per_hour * (until - begin) / HOUR,
            seconds=until - begin,
            until=until,
        )
        begin = until


def added(before: Charge | None, more: Charge) -> Charge:
    """Both as one."""
    if before is None:
        return more
    return msgspec.structs.replace(more, usd=before.usd + more.usd, seconds=before.seconds + more.seconds)


class Sum(msgspec.Struct, frozen=True):
    """What all charges cost that have the same `group`, and for how many seconds cells ran for it."""

    group: tuple[str, ...]
    usd: float
    seconds: float


def grouped(found: Iterable[Charge], by: Sequence[str]) -> list[Sum]:
    """The dearest group first. `by` are names of `BY`, or "label=NAME"."""
    usd: dict[tuple[str, ...], float] = {}
    seconds: dict[tuple[str, ...], float] = {}
    for one in found:
        group = tuple(_part(one, name) for name in by)
        usd[group] = usd.get(group, 0.0) + one.usd
        seconds[group] = seconds.get(group, 0.0) + one.seconds
    return [Sum(group, usd[group], seconds[group]) for group in sorted(usd, key=lambda each: (-usd[each], each))]


BY = ("namespace", "pod", "cell", "type", "launch-type", "zone")


def _part(one: Charge, name: str) -> str:
    if name.startswith("label="):
        return one.labels.get(name.removeprefix("label="), "")
    return str(getattr(one, name.replace("-", "_")))
