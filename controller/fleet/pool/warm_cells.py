"""Warm cells: what classes of them there are, which cell is of which, which of them suits a pod. Pure.

A warm cell never had a pod. A class is a pod that nobody has sent yet: a demand, and the annotations that such a pod
would have, so that GPUs, spot, a zone, an architecture or a private address are asked for as a pod asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from controller.choice.filters import rejection
from controller.choice.rank import effective_price
from controller.choice.requirements import OF_CLOUDS, PREFIX, Requirements, read
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.model.offer import Demand, Offer
from controller.model.transitions import LIVE

# The nearer to ready, the better.
NEARNESS = {CellState.READY: 0, CellState.BOOTING: 1, CellState.LAUNCHING: 2, CellState.REQUESTED: 3}
DAY = 86_400.0


class Class(msgspec.Struct, frozen=True, kw_only=True):
    """Warm cells for pods of at most this demand, with these annotations.

    Between `count` and `most` of them are kept, as many as let `target_hit` of the pods find one ready; exactly
    `count` where `most` is not above it. One that waited for `max_age` seconds is replaced.
    """

    name: str
    demand: Demand
    annotations: dict[str, str] = {}
    count: int = 0
    most: int = 0
    target_hit: float = 0.95
    max_age: float = DAY


class Versions(msgspec.Struct, frozen=True):
    """What a cell that is launched now would boot; "" where that is not known."""

    agent: str = ""
    image: str = ""


def warm(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells that are for nobody yet."""
    return tuple(cell for cell in cells if cell.claim is None and cell.state in LIVE)


def stands_by_for(cell: Cell, each: Class) -> bool:
    """Whether a warm cell was requested for this class, whatever the class has become since."""
    return cell.standby is not None and cell.standby.of == each.name


def outdated(cell: Cell, each: Class, versions: Versions, now: float) -> str:
    """Why a warm cell of the class should be replaced by a new one; "" where it should not."""
    standby = cell.standby
    if standby is None or cell.demand != each.demand or standby.annotations != each.annotations:
        return "its class was changed"
    if versions.image and standby.image and versions.image != standby.image:
        return f"its machine image is {standby.image}, now it is {versions.image}"
    if versions.agent and standby.agent and versions.agent != standby.agent:
        return f"its agent is {standby.agent}, now it is {versions.agent}"
    if now - cell.created_at >= each.max_age:
        return f"it waited for {now - cell.created_at:.0f} s"
    return ""


def usd_per_hour(cell: Cell) -> float:
    """What a warm cell costs; before that is known, the most that it may."""
    if cell.offer is not None:
        return cell.offer.usd_per_hour
    return cell.standby.max_price if cell.standby is not None else 0.0


def serves(
    offer: Offer, offered: Mapping[str, str], demand: Demand, required: Requirements, asked: Mapping[str, str]
) -> bool:
    """Whether an instance launched with annotations `offered` does for a pod with the annotations `asked`.

    What only a cloud understands is decided at launch: it must have been asked for to the letter.
    """
    if rejection(demand, required, offer)[0] or _of_clouds(offered) != _of_clouds(asked):
        return False
    return not required.max_price or effective_price(demand, offer) <= required.max_price


def suitable(
    cells: Iterable[Cell], demand: Demand, required: Requirements, asked: Mapping[str, str], most_usd: float
) -> tuple[CellName, ...]:
    """Warm cells on whose instance a pod fits, the best first.

    Ready ones come first, then those that cost least, then the nearest to ready, then the oldest. None that would
    cost the pod more than `most_usd` per hour.
    """
    fitting: list[tuple[bool, float, int, float, CellName]] = []
    for cell in warm(cells):
        if cell.offer is None:
            continue
        offered = cell.standby.annotations if cell.standby is not None else {}
        costs = effective_price(demand, cell.offer)
        if costs > most_usd or not _has_disk(cell, demand, required, offered):
            continue
        if serves(cell.offer, offered, demand, required, asked):
            idle = cell.state is CellState.READY and cell.connected
            fitting.append((not idle, costs, NEARNESS[cell.state], cell.created_at, cell.name))
    return tuple(entry[-1] for entry in sorted(fitting))


def _has_disk(cell: Cell, demand: Demand, required: Requirements, offered: Mapping[str, str]) -> bool:
    return has_disk(cell.demand.disk_gb, read(offered).volume_gb, demand, required)


def has_disk(disk_gb: int, volume_gb: int, demand: Demand, required: Requirements) -> bool:
    """Whether an instance whose pod may fill so much, with a root volume of at least so much, has what a pod needs."""
    return demand.disk_gb <= disk_gb and required.volume_gb <= max(volume_gb, disk_gb)


def _of_clouds(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key.removeprefix(PREFIX) in OF_CLOUDS}
