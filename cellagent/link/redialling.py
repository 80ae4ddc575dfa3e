"""When to dial again: at once, then over a window that the controller has told while it could.

The first redial is quick: a controller that lives takes a single cell back within a second. Where that is in vain the
controller is gone, or has all its cells at the door; then each waits for a moment of its own within the window.
"""

from __future__ import annotations

from cellagent.boot.join import pause
from cellwire.cell.v1 import cell_pb2 as wire

# Whatever a controller asks for.
LONGEST_WINDOW = 120.0


class RedialWindow:
    """The window, in seconds, as it was told last; 0 before that."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def heed(self, request: wire.ReportRequest) -> None:
        """Keep what a report asks for, within bounds."""
        if request.redial_window_ms:
            self.seconds = min(request.redial_window_ms / 1000, LONGEST_WINDOW)

    def pause(self, tries: int, addresses: int) -> float:
        """Seconds before the next dial, after so many in vain; each of the addresses is dialled before the window."""
        return pause(tries, self.seconds if tries and tries % addresses == 0 else 0.0)
