"""Which offers a cloud lately refused for want of capacity, as a value. Pure.

The sequence number rises with every change, so that what was derived from an older value is known to be stale.
"""

from __future__ import annotations

import msgspec

from controller.model.offer import LaunchType

# Karpenter's time for the same purpose: long enough not to ask in vain, short enough to find freed capacity.
LIFETIME = 180.0
ANY = "*"

Key = tuple[str, str, LaunchType]


class Unavailable(msgspec.Struct, frozen=True):
    """Offers to leave alone, by (type, zone, launch type), each until a unix second. `*` stands for any."""

    until: dict[Key, float] = {}
    sequence: int = 0

    def has(self, type_name: str, zone: str, launch_type: LaunchType, now: float) -> bool:
        """Whether an offer is to be left alone now."""
        if not self.until:
            return False
        keys = ((type_name, zone, launch_type), (ANY, zone, launch_type), (ANY, ANY, launch_type))
        return any(_stands(self.until.get(key, 0.0), now) for key in keys)

    def refused(self, now: float) -> tuple[tuple[Key, float], ...]:
        """Offers that are to be left alone now, each with its end."""
        return tuple(item for item in sorted(self.until.items()) if _stands(item[1], now))


def marked(known: Unavailable, key: Key, now: float) -> Unavailable:
    """The memory with one more refusal; what has expired is dropped."""
    living = {each: until for each, until in known.until.items() if _stands(until, now)}
    return Unavailable({**living, key: now + LIFETIME}, known.sequence + 1)


def _stands(until: float, now: float) -> bool:
    """Whether a refusal is to be heeded: not one that a clock which was ahead has put off further than any is."""
    return 0.0 < until - now < LIFETIME + 1.0
