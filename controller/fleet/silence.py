"""Whose silence counts: since when the controller could hear everybody, and whether many are silent at once. Pure.

A cell that is not heard may be gone; or we were: not started yet, frozen, short of CPU, cut off from the network. So
silence is our own fault first. It does not count from before our start, nor while cells of an earlier life are still
coming back, nor while cells dial in vain since too many do, nor after a pause of our own; and when more than a tenth of
the cells (and more than a handful) are silent at once, nobody is lost by it: the cloud's list and status checks decide.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controller.model.cell import Cell, CellState
from controller.model.names import CellName

LEASED = frozenset({CellState.READY, CellState.CLAIMED})
HANDFUL = 5
SHARE = 0.1
# Of a lease, and in heartbeats: those of whom nothing was heard for so long are silent. It is less than a lease, so
# that those who fall silent together are seen as many before the first of their leases runs out.
QUIET_LEASES = 0.5
QUIET_HEARTBEATS = 2.0
# Looks are two seconds apart. Who looks only now has been away, or could do nothing for so long: for half a lease,
# where that is less, since what came meanwhile is still to be read.
AWAY_SECONDS = 10.0
# In leases: crowds that follow each other sooner are one, and the longest that one is believed. The redial of ten
# thousand cells takes minutes.
QUIET_CROWDS, LONGEST_CROWD = 3.0, 15.0


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at all cells found, as of `looked_at`. Times are unix seconds.

    `started_at` is since when the controller has been at work without a pause; `since` is from when a cell that was
    not heard after it has the time of a redial and a lease. `awaited` are cells of an earlier life that have not come
    back; `silent` is the number of cells not heard of late, and `mass` tells that these are too many to be believed.
    `crowded_at` is when a cell last dialled in vain, `crowding_since` since when that has gone on.
    """

    started_at: float = 0.0
    since: float = 0.0
    looked_at: float = 0.0
    awaited: frozenset[CellName] = frozenset()
    silent: int = 0
    mass: bool = False
    crowded_at: float = 0.0
    crowding_since: float = 0.0


def begun(now: float) -> Listening:
    """Nobody was looked at yet."""
    return Listening(started_at=now, since=now, looked_at=now)


def look(
    before: Listening, cells: Iterable[Cell], lease: float, heartbeat: float, now: float, *, crowded: bool = False
) -> Listening:
    """The next look. In seconds: one silent cell alone is lost after `lease`; a live one is heard each `heartbeat`.
    `crowded` tells that a cell has dialled in vain since the last one.
    """
    # Or the clock was set back: since when we have listened would be in times to come.
    if not 0 <= now - before.looked_at <= min(AWAY_SECONDS, lease * QUIET_LEASES):
        before = begun(now)
    leased = [cell for cell in cells if cell.state in LEASED]
    awaited = frozenset(cell.name for cell in leased if heard(cell) < before.started_at)
    quiet = min(lease, max(lease * QUIET_LEASES, heartbeat * QUIET_HEARTBEATS))
    silent = sum(now - max(heard(cell), before.started_at) > quiet for cell in leased)
    mass = silent > max(HANDFUL, len(leased) * SHARE)
    crowded_at, crowding_since = before.crowded_at, before.crowding_since
    if crowded:
        crowding_since = crowding_since if now - crowded_at < lease * QUIET_CROWDS else now
        crowded_at = now
        # A few cells in a stranger's hands can keep the door crowded: that keeps no lease from running out for ever.
        crowded = now - crowding_since < lease * LONGEST_CROWD
    came_back = any(cell.name in before.awaited and cell.name not in awaited for cell in leased)
    return Listening(
        started_at=before.started_at,
        since=now if mass or came_back or crowded else before.since,
        looked_at=now,
        awaited=awaited,
        silent=silent,
        mass=mass,
        crowded_at=crowded_at,
        crowding_since=crowding_since,
    )


def heard(cell: Cell) -> float:
    """When the cell was last known to live."""
    return max(cell.last_heartbeat, cell.changed_at)
