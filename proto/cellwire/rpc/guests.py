"""Who may stay at an open port before having proved anything, and who makes room for whom. No I/O.

An address (of IPv6 a /64, which one machine may have whole) has so many places, and all together have so many. Where
none is left, the longest silent guest makes room, of the address that has most, if it has been silent for a while;
else the newcomer is sent away. So one address never keeps another out, and a crowd that is served is not cut off. Those
who have put a whole request, or showed a certificate of ours, no longer make room for anybody.

Each who comes is counted as having come in vain until it shows a certificate of ours, and of those an address has few a
second. So who only shakes hands costs little, and who is at home pays nothing: many cells may come by one address.
Where one of them shares it with such a stranger it has its part of what the address has left, which is more where
cells have shown themselves of late: it may have to try again. Thousands of instances that boot at once behind one
address, and need the agent's bundle first, share it so, too: some give up.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field

# A request comes within a round trip or two of the handshake, unless our own CPU is short.
SILENT_SECONDS = 2.0
# Addresses of which it is remembered how often they came; those that came least of late are forgotten first.
ADDRESSES_KEPT = 4096
# An instance dials for the agent's bundle, for the authority, to join, and then as a cell, which shows a certificate.
WAY_HOME = 4
PROVEN_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Bounds on strangers' connections: `total`, of one `address`, and how often one address may come: `burst` times at
    once, and `rate` times a second. In vain it may come `vain_burst` times at once, and then `vain_rate` times a
    second, `proven_rate` times where somebody has shown a certificate of ours within the hour. A TLS handshake is about
    4 ms of CPU; a thousand instances behind one NAT that fetch the agent's bundle dial some times each before the first
    of them has a certificate. `familiar` are those who dial from addresses of cells, most of whom only wait for their
    turn.
    """

    total: int = 512
    familiar: int = 4096
    address: int = 64
    burst: float = 500.0
    rate: float = 100.0
    vain_burst: float = 2000.0
    vain_rate: float = 4.0
    proven_rate: float = 20.0


@dataclass(eq=False, slots=True)
class Guest:
    """One connection; `address` is the key of where it comes from, `since` when it came, or was attended to at last.

    `waits` tells that it is we who have not begun with it yet: it does not make room for anybody. `familiar` tells that
    a cell of ours lives where it comes from.
    """

    address: str
    since: float
    waits: bool = False
    familiar: bool = False


@dataclass(slots=True)
class _Visits:
    """How often an address came of late, and in vain; `at` is when it came last, `proved_at` when not in vain."""

    level: float
    vain: float
    at: float
    proved_at: float = -math.inf


@dataclass(slots=True)
class Guests:
    """All guests of a port."""

    places: Places
    _silent: dict[str, dict[Guest, None]] = field(default_factory=dict[str, dict[Guest, None]])
    _staying: dict[str, set[Guest]] = field(default_factory=dict[str, set[Guest]])
    _visits: dict[str, _Visits] = field(default_factory=dict[str, _Visits])
    count: int = 0

    @property
    def full(self) -> bool:
        """Whether all places together are taken."""
        return self.count >= self.places.total

    def enter(self, host: str, now: float) -> tuple[Guest | None, Guest | None]:
        """The guest, or None if there is no place for it; and who has to leave for it, if anybody."""
        address = key(host)
        if not self._may_come(address, now):
            return None, None
        leaver: Guest | None = None
        own = self._silent.get(address, {})
        if len(own) + len(self._staying.get(address, ())) >= self.places.address:
            leaver = _longest(own, now)
        elif self.full:
            leaver = _longest(max(self._silent.values(), key=len, default={}), now)
        else:
            return self._placed(Guest(address, now)), None
        if leaver is None:
            return None, None
        self.leave(leaver)
        return self._placed(Guest(address, now)), leaver

    def attend(self, guest: Guest, now: float) -> None:
        """It waits no longer: from now on it is its own silence that counts."""
        guest.waits, guest.since = False, now
        silent = self._silent.get(guest.address, {})
        if guest in silent:
            silent[guest] = silent.pop(guest)

    def heard(self, guest: Guest) -> None:
        """It has put its whole request."""
        silent = self._silent.get(guest.address, {})
        if guest in silent:
            self._remove(guest)
            self._staying.setdefault(guest.address, set()).add(guest)
            self.count += 1

    def proved(self, guest: Guest, now: float) -> None:
        """It has shown a certificate of ours: its address did not come in vain, nor on the way to that certificate."""
        visits = self._visits.get(guest.address)
        if visits is not None:
            visits.vain = max(visits.vain - WAY_HOME, 0.0)
            visits.proved_at = now

    def leave(self, guest: Guest) -> None:
        """It is gone, or is no stranger any more. Repeating it does no harm."""
        self._remove(guest)

    def longest_silent(self) -> Guest | None:
        """Who has been silent for longest, of the address that has most."""
        return next(iter(max(self._silent.values(), key=len, default={})), None)

    def _placed(self, guest: Guest) -> Guest:
        self._visits[guest.address].vain += 1
        self._silent.setdefault(guest.address, {})[guest] = None
        self.count += 1
        return guest

    def _remove(self, guest: Guest) -> None:
        silent, staying = self._silent.get(guest.address), self._staying.get(guest.address)
        if silent is not None and guest in silent:
            del silent[guest]
            self.count -= 1
            if not silent:
                del self._silent[guest.address]
        if staying is not None and guest in staying:
            staying.discard(guest)
            self.count -= 1
            if not staying:
                del self._staying[guest.address]

    def _may_come(self, address: str, now: float) -> bool:
        visits, places = self._visits.pop(address, None) or _Visits(0.0, 0.0, now), self.places
        passed = now - visits.at
        level = max(visits.level - passed * places.rate, 0.0)
        proven = now - visits.proved_at < PROVEN_SECONDS
        vain = max(visits.vain - passed * (places.proven_rate if proven else places.vain_rate), 0.0)
        allowed = level + 1 <= places.burst and vain + 1 <= places.vain_burst
        # The newest at the end: the first is the one that has not come for longest.
        self._visits[address] = _Visits(level + allowed, vain, now, visits.proved_at)
        if len(self._visits) > ADDRESSES_KEPT:
            del self._visits[next(iter(self._visits))]
        return allowed


def key(host: str) -> str:
    """What counts as one address: an IPv4 address, also where IPv6 carries it, or the /64 of an IPv6 one."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _longest(silent: dict[Guest, None], now: float) -> Guest | None:
    first = next((guest for guest in silent if not guest.waits), None)
    return first if first is not None and now - first.since >= SILENT_SECONDS else None
