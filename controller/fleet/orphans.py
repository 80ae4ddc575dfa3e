"""Which instances belong to which cell, and which to nobody. Pure.

The cloud is listed first and records are read after: a cell that was launched meanwhile has its record, so it is never
taken for an orphan. Two lists and a grace lie between the first sight of an orphan and its end, since a record
may be on its way (a standby controller that takes over, a store restored from a backup).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from controller.model.cell import Cell
from controller.model.instance import Instance, InstanceState
from controller.model.names import CellName, InstanceId

ENDED = frozenset({InstanceState.STOPPING, InstanceState.TERMINATED})


class Candidate(msgspec.Struct, frozen=True):
    """Candidate for an orphan, an instance without a record: when it was first listed, and in how many lists."""

    first: float
    times: int


class Sorted(msgspec.Struct, frozen=True, kw_only=True):
    """A list of instances, sorted: each cell's, the candidates for orphans, and the orphans due to be ended."""

    owned: dict[CellName, Instance]
    candidates: dict[InstanceId, Candidate]
    due: tuple[InstanceId, ...]


def sort(
    cells: Iterable[Cell],
    instances: Iterable[Instance],
    candidates: Mapping[InstanceId, Candidate],
    grace: float,
    listed_at: float,
) -> Sorted:
    """Sort one list of instances by owner."""
    by_id = {cell.instance: cell.name for cell in cells if cell.instance is not None}
    # A cell that knows its instance owns no other, whatever token that has.
    by_token = {cell.client_token: cell.name for cell in cells if cell.client_token and cell.instance is None}
    owned: dict[CellName, Instance] = {}
    seen: dict[InstanceId, Candidate] = {}
    due: list[InstanceId] = []
    for instance in instances:
        owner = by_id.get(instance.id) or by_token.get(instance.client_token)
        if owner is not None:
            # Of two with one token (a cloud that forgot it), the one that lives is the cell's.
            if owner not in owned or owned[owner].state in ENDED:
                owned[owner] = instance
            continue
        if instance.state in ENDED:
            continue
        before = candidates.get(instance.id)
        candidate = Candidate(before.first, before.times + 1) if before else Candidate(listed_at, 1)
        seen[instance.id] = candidate
        if candidate.times >= 2 and listed_at - candidate.first >= grace:
            due.append(instance.id)
    return Sorted(owned=owned, candidates=seen, due=tuple(due))
