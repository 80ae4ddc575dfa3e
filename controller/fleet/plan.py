"""The plan: what is to be done so that instances match cells. Pure: values and `now` in, actions out.

A plan is made from what is stored and what the cloud last listed, never from what was planned before; so a crash at any
line leaves something from which the next plan goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.fleet import announcements
from controller.fleet.silence import Listening, heard
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance, InstanceState
from controller.model.names import CellName, InstanceId
from controller.model.transitions import ENDING

S = CellState
RUNNING = frozenset({InstanceState.PENDING, InstanceState.RUNNING})


class FleetLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; see the settings of the fleet. `terminate_again` is how long a termination may take to show.

    `lease` is that of a cell, which is heard each `heartbeat`. `redial` is the longest that a cell which found no
    controller waits before it dials again, and the handshake. `maintenance_lead` and `rebalance_ends` say what
    announcements lead to; see `controller.fleet.announcements`.
    """

    lease: float = 30.0
    heartbeat: float = 5.0
    redial: float = 35.0
    boot: float = 300.0
    launch: float = 600.0
    unclaimed: float = 300.0
    grace: float = 30.0
    terminate_again: float = 15.0
    maintenance_lead: float = 600.0
    rebalance_ends: bool = False


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one cell beside its record; nothing of it is stored.

    `listed_at` is when the last complete list of instances was asked for, 0 if none was since the start;
    `instance` is the cell's as of then, and `missing_since` the first list in a row without it. `asked_at` is when
    somebody last waited for the cell, infinite while somebody does. `terminated_at` is when its end was last asked for.
    `impaired` is what a status check of the cloud said of the instance at `impaired_at`, "" where it said nothing.
    """

    listening: Listening = Listening()
    listed_at: float = 0.0
    instance: Instance | None = None
    missing_since: float = 0.0
    asked_at: float = 0.0
    terminated_at: float = 0.0
    impaired: str = ""
    impaired_at: float = 0.0


class Launch(msgspec.Struct, frozen=True):
    """Ask the cloud for the cell's instance, anew or again with the same token."""

    cell: CellName


class Adopt(msgspec.Struct, frozen=True):
    """The launch had an answer that nobody wrote down: here is its instance."""

    cell: CellName
    instance: Instance


class Lose(msgspec.Struct, frozen=True):
    """Give the cell up; what ran in it is over."""

    cell: CellName
    reason: str


class Retire(msgspec.Struct, frozen=True):
    """Nobody needs the cell."""

    cell: CellName
    reason: str


class Release(msgspec.Struct, frozen=True):
    """No pod is to get this warm cell."""

    cell: CellName
    reason: str


class End(msgspec.Struct, frozen=True):
    """The instance will be taken: tell the pod to end."""

    cell: CellName


class Terminate(msgspec.Struct, frozen=True):
    """End the instance of a cell that is on its way out."""

    cell: CellName
    instance: InstanceId


class Collect(msgspec.Struct, frozen=True):
    """End an instance that no record knows."""

    instance: InstanceId


class Forget(msgspec.Struct, frozen=True):
    """The cell's instance is gone: so is the cell."""

    cell: CellName


# What changes a record; ends of instances change none.
Recorded = Launch | Adopt | Lose | Retire | Release | End | Forget
CellAction = Recorded | Terminate
Action = CellAction | Collect


def plan_cell(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction | None:
    """The next thing to do for one cell; None if there is nothing but to wait."""
    match cell.state:
        case S.REQUESTED:
            return _requested(cell, seen, limits, now)
        case S.LAUNCHING:
            return _launching(cell, seen, limits, now)
        case S.BOOTING:
            return _gone(cell, seen, limits, now) or _announced(cell, limits, now) or _booting(cell, seen, limits, now)
        case S.READY:
            return _gone(cell, seen, limits, now) or _announced(cell, limits, now) or _ready(cell, seen, limits, now)
        case S.CLAIMED:
            return _gone(cell, seen, limits, now) or _announced(cell, limits, now) or _leased(cell, seen, limits, now)
        case S.RETIRING | S.LOST:
            return _ending(cell, seen, limits, now)
        case S.GONE:
            return Forget(cell.name)


def _requested(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction:
    return _unclaimed(cell, seen, limits, now) or Launch(cell.name)


def _launching(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction | None:
    if seen.instance is not None:
        if seen.instance.state in RUNNING:
            return Adopt(cell.name, seen.instance)
        return Lose(cell.name, f"its instance ended while it was launched: {_why(seen.instance)}")
    if cell.changed_at < seen.listening.started_at and not seen.listed_at:
        return None  # asked for in an earlier life: perhaps the list knows the answer
    if now - max(cell.changed_at, seen.listening.started_at) > limits.launch:
        return Lose(cell.name, f"the cloud has not launched it within {limits.launch:.0f} s")
    return Launch(cell.name)


def _gone(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction | None:
    """A cell whose instance ended, or is missing from lists for long while the cell itself is silent."""
    if seen.instance is not None and seen.instance.state not in RUNNING:
        return Lose(cell.name, f"its instance {seen.instance.id} is {_why(seen.instance)}")
    # Not by `since`: among many who are silent at once, the cloud's list tells who is gone.
    silent = _overdue(heard(cell), seen.listening.started_at, limits.grace, limits, now)
    if seen.missing_since and seen.listed_at - seen.missing_since >= limits.grace and silent and not cell.connected:
        return Lose(cell.name, f"its instance {cell.instance} is gone from the cloud")
    return None


def _announced(cell: Cell, limits: FleetLimits, now: float) -> CellAction | None:
    """What an announcement that its instance ends means for a cell: no pod gets it, and the pod that has it ends."""
    known = cell.announced
    if known is None or not known.ends or known.ending_since:
        return None
    why = f"its instance {cell.instance} is announced to end: {known.message}"
    if cell.claim is None:
        return Release(cell.name, why)
    if not announcements.due(known, limits, now):
        return None
    # In a cell that was not handed over nothing runs yet: whoever waits for it gets another.
    return End(cell.name) if cell.state is S.CLAIMED else Retire(cell.name, why)


def _booting(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction | None:
    # One that booted while the controller was away has dialled in vain, and waits before it dials again.
    back = seen.listening.started_at + limits.redial + limits.lease
    if now - cell.changed_at > limits.boot and not cell.changed_at < seen.listening.started_at <= now < back:
        return Lose(cell.name, f"its instance {cell.instance} did not join within {limits.boot:.0f} s")
    return None


def _ready(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction | None:
    # Between joining and its first heartbeat a cell dials: give that the time of a lease.
    return _leased(cell, seen, limits, now) or _unclaimed(cell, seen, limits, now)


def _leased(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction | None:
    last, listening = heard(cell), seen.listening
    silent = now - max(last, listening.started_at)
    if _overdue(last, listening.since, limits.lease, limits, now):
        return Lose(cell.name, f"CellLost: nothing was heard of it for {silent:.0f} s")
    if listening.mass and silent > limits.lease and seen.impaired_at > last:
        return Lose(cell.name, f"CellLost: nothing was heard of it for {silent:.0f} s, and {seen.impaired}")
    return None


def _overdue(last: float, since: float, patience: float, limits: FleetLimits, now: float) -> bool:
    """Whether a cell that was last heard at `last` is silent for too long, when all could be heard from `since` on.

    A cell that has dialled in vain before that waits before it dials again.
    """
    if last <= since:
        return now - since > patience + limits.redial
    return now - last > patience


def _unclaimed(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction | None:
    if cell.claim is None:
        return None
    # From the claim on, not from the launch: a warm cell may have stood by for days. And the claim is written down
    # before anybody waits for the cell.
    idle = now - max(seen.asked_at, cell.created_at, cell.assigned_at, seen.listening.started_at)
    if idle <= limits.unclaimed:
        return None
    return Retire(cell.name, f"nobody has asked for it for {idle:.0f} s")


def _ending(cell: Cell, seen: Seen, limits: FleetLimits, now: float) -> CellAction | None:
    instance = seen.instance.id if seen.instance is not None else cell.instance
    if instance is None:
        # A launch may be on its way whose answer was lost; a list from well after it must show that there is none.
        settled = not cell.client_token or seen.listed_at - cell.changed_at >= limits.grace
        return Forget(cell.name) if settled else None
    if seen.instance is not None and seen.instance.state is InstanceState.TERMINATED:
        return Forget(cell.name)
    # Missing from a list that is younger than our asking for its end.
    if seen.instance is None and seen.terminated_at and seen.listed_at > seen.terminated_at:
        return Forget(cell.name)
    # Or it was asked for while the clock was ahead, which says nothing of when to ask again.
    if not 0 <= now - seen.terminated_at < limits.terminate_again:
        return Terminate(cell.name, instance)
    return None


def _why(instance: Instance) -> str:
    return f"{instance.state.value} ({instance.state_reason})" if instance.state_reason else instance.state.value


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What a full pass looks at once: `orphans` are due for their end, `surplus` are warm cells to let go, and why."""

    cells: tuple[tuple[Cell, Seen], ...]
    orphans: tuple[InstanceId, ...] = ()
    surplus: Mapping[CellName, str] = {}


def plan(observed: Observed, limits: FleetLimits, now: float) -> tuple[Action, ...]:
    """Everything there is to do, at most one thing for each cell."""
    actions: list[Action] = [Collect(instance) for instance in observed.orphans]
    for cell, seen in observed.cells:
        action = plan_cell(cell, seen, limits, now)
        if action is None and cell.name in observed.surplus and cell.state not in ENDING:
            action = Retire(cell.name, observed.surplus[cell.name])
        if action is not None:
            actions.append(action)
    return tuple(actions)
