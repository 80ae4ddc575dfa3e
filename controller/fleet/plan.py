"""What is to be done for each cell now. Pure: a cell, what the cloud says, and the time in; an action out."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from controller.model.cell import Cell, CellState
from controller.model.instance import Instance, InstanceState
from controller.model.names import InstanceId

LIVING = frozenset({InstanceState.PENDING, InstanceState.RUNNING})


class Do(enum.Enum):
    """One kind of action."""

    LAUNCH = "launch"
    ADOPT = "adopt"
    LOSE = "lose"
    TERMINATE = "terminate"


class Action(msgspec.Struct, frozen=True):
    """What to do for a cell, and why in words."""

    do: Do
    cell: Cell
    reason: str = ""
    instance: Instance | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of patience: `boot` from launch to join, `lease` without a heartbeat, `grace` for strange instances."""

    boot: float = 300.0
    lease: float = 30.0
    grace: float = 30.0


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud said in its last list, if it has been asked: instances by id and by client token.

    `listed_at` is when the list was asked for: a cell launched later cannot be in it. `started_at` is when this
    controller began to listen: silence before that is our own.
    """

    by_id: Mapping[InstanceId, Instance] = {}
    by_token: Mapping[str, Instance] = {}
    listed_at: float = 0.0
    started_at: float = 0.0


def plan(cell: Cell, observed: Observed, limits: Limits, now: float) -> Action | None:
    """The next action for a cell that nobody is busy with; None where there is nothing to do."""
    match cell.state:
        case CellState.REQUESTED:
            return Action(Do.LAUNCH, cell)
        case CellState.LAUNCHING:
            found = observed.by_token.get(cell.client_token)
            # A launch whose answer we never saw is asked for again: the token makes it the same instance.
            return Action(Do.ADOPT, cell, instance=found) if found else Action(Do.LAUNCH, cell)
        case CellState.BOOTING:
            return _ended_in_cloud(cell, observed) or _too_slow(cell, limits, now)
        case CellState.READY | CellState.CLAIMED:
            return _ended_in_cloud(cell, observed) or _silent(cell, observed, limits, now)
        case CellState.RETIRING | CellState.LOST:
            return Action(Do.TERMINATE, cell, cell.reason)
        case CellState.GONE:
            return None


def _ended_in_cloud(cell: Cell, observed: Observed) -> Action | None:
    if cell.instance is None or observed.listed_at <= cell.changed_at:
        return None
    found = observed.by_id.get(cell.instance)
    if found is not None and found.state in LIVING:
        return None
    why = found.state_reason or found.state.value if found else "the cloud does not know it any more"
    return Action(Do.LOSE, cell, f"its instance {cell.instance} has ended: {why}")


def _too_slow(cell: Cell, limits: Limits, now: float) -> Action | None:
    if now - cell.changed_at <= limits.boot:
        return None
    return Action(Do.LOSE, cell, f"its instance did not join within {limits.boot:.0f} s")


def _silent(cell: Cell, observed: Observed, limits: Limits, now: float) -> Action | None:
    if cell.connected:
        return None
    heard = max(cell.last_heartbeat, observed.started_at)
    if now - heard <= limits.lease:
        return None
    return Action(Do.LOSE, cell, f"it has been silent for {now - heard:.0f} s")
