"""How often cells say that they live, how long their silence is believed, how they redial: the more cells, the less
often. Pure.

A heartbeat costs the controller's core about half a millisecond, so it hears `BEATS_A_SECOND` of them at most. As long
as the interval of the settings stays below that nothing changes; beyond, the interval grows in steps of a quarter, to
`LONGEST_SECONDS`. A lease is as many heartbeats as the settings make it. The controller's own records are counted, not
what is connected: nothing that a cell does changes its interval, or another's.

Whoever loses its connection redials at once. Where that is in vain the controller is gone, or has too many to let in:
from then on the cells spread their dials over a window in which there are `DIALS_A_SECOND` of them. They are told it
beforehand, with the interval.
"""

from __future__ import annotations

import msgspec

from controller.fleet.plan import FleetLimits

BEATS_A_SECOND = 400.0
STEP = 1.25
LONGEST_SECONDS = 30.0
# A cell's acceptance is 3 ms of the controller's CPU, and a core has other things to do.
DIALS_A_SECOND = 250.0
SHORTEST_WINDOW, LONGEST_WINDOW = 0.4, 60.0
# A cell is told with its next heartbeat, and that may have been late.
TOLD_AFTER = 2.0


class Rhythm(msgspec.Struct, frozen=True):
    """Seconds between heartbeats: `told` is what cells are told now, `slowest` the most that one may still keep to,
    which was told something else before; until `settled_at` (unix seconds) there may be such.
    """

    told: float
    slowest: float
    settled_at: float = 0.0


def interval(cells: int, base: float) -> float:
    """Seconds between two heartbeats of one of so many cells; `base` is the interval of the settings."""
    found = base
    while cells > found * BEATS_A_SECOND and found < LONGEST_SECONDS:
        found *= STEP
    return max(base, min(found, LONGEST_SECONDS))


def redial_window(cells: int) -> float:
    """Seconds over which so many cells spread their redials; in steps, since each is told to all."""
    found = SHORTEST_WINDOW
    while cells > found * DIALS_A_SECOND and found < LONGEST_WINDOW:
        found *= STEP
    return min(found, LONGEST_WINDOW)


def after(before: Rhythm, cells: int, base: float, now: float) -> Rhythm:
    """The rhythm for so many cells, where it was another before."""
    told = interval(cells, base)
    if told >= before.slowest:
        return Rhythm(told, told)
    if told != before.told:
        return Rhythm(told, before.slowest, now + before.slowest * TOLD_AFTER)
    return before if now < before.settled_at else Rhythm(told, told)


def stretched(limits: FleetLimits, rhythm: Rhythm) -> FleetLimits:
    """The limits with lease and heartbeat as the rhythm makes them: each lease holds as many heartbeats as before."""
    slower = max(rhythm.slowest / limits.heartbeat, 1.0)
    return msgspec.structs.replace(limits, lease=limits.lease * slower, heartbeat=limits.heartbeat * slower)
