"""Instances of ours that no record knows: collected after two sightings and a time of grace. Pure.

The cloud is listed first and the records are read after, so that an instance launched meanwhile has its record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from controller.fleet.plan import LIVING
from controller.model.cell import Cell
from controller.model.instance import Instance
from controller.model.names import InstanceId


def strangers(instances: Iterable[Instance], cells: Collection[Cell]) -> tuple[Instance, ...]:
    """Living instances that belong to no cell, by id or by client token."""
    ids = {cell.instance for cell in cells}
    tokens = {cell.client_token for cell in cells}
    return tuple(
        one for one in instances if one.state in LIVING and one.id not in ids and one.client_token not in tokens
    )


def due(
    found: Iterable[Instance], first_seen: Mapping[InstanceId, float], grace: float, now: float
) -> tuple[dict[InstanceId, float], tuple[InstanceId, ...]]:
    """When each stranger was first seen, and which are to be ended now: seen before, and long enough ago."""
    seen = {one.id: first_seen.get(one.id, now) for one in found}
    return seen, tuple(key for key, first in seen.items() if key in first_seen and now - first >= grace)
