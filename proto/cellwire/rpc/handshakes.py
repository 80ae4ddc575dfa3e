"""Whose TLS handshake is next at an open port. No I/O.

A handshake costs milliseconds, and whoever dials gives up after a while: begun all at once, those of ten thousand cells
that redial would all be late, and each would have cost its time. So few are under way at once, and the others wait;
who has waited for longer than a dialler does is sent away unserved. Those who dial from an address at which a cell of
ours lives have most of the turns, and strangers have turns of their own, so that neither keeps the other out. Within
each the addresses take turns, so that no address has more of them than another that waits.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from cellwire.rpc.guests import Guest

# The processor is busy with one; the others are on their way over the network and back.
CELLS_AT_ONCE = 24
STRANGERS_AT_ONCE = 8
# Who calls gives up ten seconds after its connection was accepted by the kernel, a cell that dials after twenty.
PATIENCE_SECONDS, CELLS_PATIENCE_SECONDS = 6.0, 14.0
# One that lasts for longer waits for its peer, and gives its turn to another; it may be finished all the same.
TURN_SECONDS = 0.5
# Between two looks for those who are late.
LOOK_SECONDS = 0.25


@dataclass(slots=True)
class _Lane:
    """Guests who wait, by address in the order of their turns, and who have their turn now."""

    at_once: int
    waiting: dict[str, deque[Guest]] = field(default_factory=dict[str, deque[Guest]])
    under_way: dict[Guest, float] = field(default_factory=dict[Guest, float])

    def next(self, now: float) -> Guest | None:
        for guest in [guest for guest, since in self.under_way.items() if now - since >= TURN_SECONDS]:
            del self.under_way[guest]
        if len(self.under_way) >= self.at_once or not self.waiting:
            return None
        address = next(iter(self.waiting))
        # The next turn of this address comes after those of all others.
        queue = self.waiting.pop(address)
        guest = queue.popleft()
        if queue:
            self.waiting[address] = queue
        self.under_way[guest] = now
        return guest

    def late(self, now: float, patience: float) -> list[Guest]:
        found: list[Guest] = []
        for address, queue in tuple(self.waiting.items()):
            while queue and now - queue[0].since >= patience:
                found.append(queue.popleft())
            if not queue:
                del self.waiting[address]
        return found

    def leave(self, guest: Guest) -> None:
        self.under_way.pop(guest, None)
        queue = self.waiting.get(guest.address)
        if queue is not None and guest in queue:
            queue.remove(guest)
            if not queue:
                del self.waiting[guest.address]


class Turns:
    """All guests whose handshake has not begun, or is under way."""

    def __init__(self) -> None:
        self._cells = _Lane(CELLS_AT_ONCE)
        self._strangers = _Lane(STRANGERS_AT_ONCE)
        self._looked_at = -math.inf

    def wait(self, guest: Guest, *, familiar: bool) -> None:
        """Take a place in the queue. `familiar` tells that a cell of ours lives at the guest's address."""
        guest.waits, guest.familiar = True, familiar
        lane = self._cells if familiar else self._strangers
        lane.waiting.setdefault(guest.address, deque()).append(guest)

    def next(self, now: float) -> Guest | None:
        """Whose handshake is to begin now; None where nobody's is."""
        return self._cells.next(now) or self._strangers.next(now)

    def late(self, now: float) -> list[Guest]:
        """Those who have waited for too long, no longer in the queue."""
        if now - self._looked_at < LOOK_SECONDS:
            return []
        self._looked_at = now
        return self._cells.late(now, CELLS_PATIENCE_SECONDS) + self._strangers.late(now, PATIENCE_SECONDS)

    def leave(self, guest: Guest) -> None:
        """It is gone, or its handshake is over. Repeating it does no harm."""
        self._cells.leave(guest)
        self._strangers.leave(guest)
