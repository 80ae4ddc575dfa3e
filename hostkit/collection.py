"""How often Python looks through everything for cycles: what grows with the number of objects is done the more seldom.

A full collection stops the process for about a third of a microsecond an object, which is half a second with ten
thousand cells. Python begins one whenever a quarter has been added, so a controller whose cells come back one by one
would stand still many times. Here the time between two of them is a multiple of what the last one took, and what one
has found alive the next leaves out: it looks at what was added since. Only a thorough one, which is rarer still, looks
at all, since what dies late in a cycle is found by no other. What dies young is found by the small collections, as
ever.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

# Full collections of what was added take this part of the time at most, and thorough ones of all that; the second are
# so far apart, too, that a crowd that comes in meanwhile is looked through once: 250 cells a second are 13 ms.
SHARE = 1 / 50
THOROUGH_SHARE = 1 / 1000
THOROUGH_SECONDS = 600.0
# However long the last one took: where much dies late, what has died by the next would be more each time, without end.
LONGEST_WAIT = 60.0
NEVER = 1_000_000_000
_FULL = 2


class SpacedCollections:
    """Lets Python collect fully no sooner than the last time allows; to be put into `gc.callbacks`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = 0.0
        self._due = 0.0
        self._thorough_due = clock() + THOROUGH_SECONDS
        self._thorough = False
        self._young, self._middle, self._often = gc.get_threshold()

    def __call__(self, phase: str, about: Mapping[str, int]) -> None:
        """As `gc.callbacks` calls it."""
        now = self._clock()
        if about["generation"] != _FULL:
            if phase == "stop" and now >= self._due:
                gc.set_threshold(self._young, self._middle, self._often)
        elif phase == "start":
            self._begun = now
            self._thorough = now >= self._thorough_due
            if self._thorough:
                gc.unfreeze()
        else:
            gc.freeze()
            self._due = now + min((now - self._begun) / SHARE, LONGEST_WAIT)
            if self._thorough:
                self._thorough_due = now + max((now - self._begun) / THOROUGH_SHARE, THOROUGH_SECONDS)
            gc.set_threshold(self._young, self._middle, NEVER)


def put_off() -> None:
    """Begin none until `space_out`: what a start imports stays, and to look through it again and again is vain."""
    gc.disable()


def space_out() -> None:
    """Have it so in this process from now on. What was imported by now is left out of every collection."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.callbacks.append(SpacedCollections())


def leave_all() -> None:
    """For a process that ends: the system takes back all at once what Python would look through first, for a tenth of
    the time of a short command.
    """
    gc.disable()
    gc.freeze()
