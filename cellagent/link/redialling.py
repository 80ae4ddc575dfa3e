"""When to dial again: at once, then over a window that the controller has told while it could.

The first redial is quick: a controller that lives takes a single cell back within a second. Where that is in vain the
controller is gone, or has all its cells at the door; then each waits for a moment of its own within the window, which
is as long as the controller needs for all of them. So there is no need to wait for ever longer.

A controller that is frozen and one that has many at its door look alike from outside: the kernel has taken the
connection, and nothing comes. By the window a cell knows how long the second may last.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from cellagent.boot.join import LONGEST_PAUSE, pause
from cellwire.cell.v1 import cell_pb2 as wire

# Whatever a controller asks for.
LONGEST_WINDOW = 120.0
# Where a window was told and is shorter: then as many as there are have dialled several times within this.
LONGEST_TOLD = 10.0
# A controller that lives and has few cells answers sooner.
HEAD_START = 3.0


class RedialWindow:
    """The window, in seconds, as it was told last; 0 before that."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def heed(self, request: wire.ReportRequest) -> None:
        """Keep what a report asks for, within bounds."""
        if request.redial_window_ms:
            self.seconds = min(request.redial_window_ms / 1000, LONGEST_WINDOW)

    @property
    def head_start(self) -> float:
        """Seconds that one address has before the next is dialled beside it: longer than all cells together, which
        dial at once when they lose their controller, wait for one that lives.
        """
        return HEAD_START + 2 * self.seconds

    def pause(self, tries: int, addresses: int, chance: Callable[[], float] = random.random) -> float:
        """Seconds before the next dial, after so many in vain. The addresses are dialled one soon after the other."""
        rounds, place = divmod(tries, addresses)
        if place or not rounds:
            return pause(0, chance=chance)
        longest = LONGEST_TOLD if self.seconds else LONGEST_PAUSE
        # From the second time on the window is the mean: all together come no more often than they are to.
        return max(pause(rounds, longest, chance), (chance() + (0.5 if rounds > 1 else 0.0)) * self.seconds)
