"""How long a cell is paid for that only waits for an image which cannot be pulled. Pure but for the clock it is given.

A kubelet tries for ever, and makes a new sandbox wherever one has ended. So a cell that is given up is followed by a
pause, each twice as long as the one before, in which the pod gets no other: what a mistyped image costs stays bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from cellwire.faults import Fault, Kind

LONGEST_PAUSE = 86400.0
# A pod that has not been heard of for so long is none any more.
REMEMBERED = 2 * 86400.0


class _Pause(msgspec.Struct, frozen=True):
    """A pod gets no cell until then; the pause was so long."""

    until: float
    seconds: float


class PullBackoff:
    """Pods whose images cannot be pulled, by their uids. `seconds` of 0 is endless patience."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._since: dict[str, float] = {}
        self._pauses: dict[str, _Pause] = {}

    def failed(self, uid: str) -> bool:
        """A pull has failed; whether that has gone on for too long."""
        began = self._since.setdefault(uid, self._clock())
        return bool(self.seconds) and self._clock() - began >= self.seconds

    def pulled(self, uid: str) -> None:
        """A pull has not failed."""
        self._since.pop(uid, None)
        self._pauses.pop(uid, None)

    def gave_up(self, uid: str) -> None:
        """The pod's cell is given back."""
        now = self._clock()
        self._since.pop(uid, None)
        before = self._pauses.get(uid)
        seconds = min(before.seconds * 2 if before is not None else self.seconds, LONGEST_PAUSE)
        self._pauses[uid] = _Pause(now + seconds, seconds)
        for known in [name for name, pause in self._pauses.items() if now - pause.until > REMEMBERED]:
            del self._pauses[known]
        for known in [name for name, began in self._since.items() if now - began > self.seconds + REMEMBERED]:
            del self._since[known]

    def check(self, uid: str, pod: str) -> None:
        """Raises Fault UNAVAILABLE while the pod gets no cell."""
        pause = self._pauses.get(uid)
        if pause is not None and pause.until > self._clock():
            cause = (
                f"its image could not be pulled for {self.seconds:g} s (shim.image_patience): its cell was given back"
            )
            mend = f"mend its image; it gets another cell in {pause.until - self._clock():.0f} s"
            raise Fault(Kind.UNAVAILABLE, f"pod {pod}", cause, mend)
