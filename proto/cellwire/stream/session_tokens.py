"""One-time tokens that stand for a session somebody may open: short-lived, bounded, used once. No I/O."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from cellwire.faults import Fault, Kind

LIFETIME = 60.0
"""Seconds between a call's answer and the client's arrival; a kubelet comes within milliseconds."""
MOST = 1000
"""Tokens waiting at one time."""

T = TypeVar("T")


class StreamTokens(Generic[T]):
    """Sessions that wait to be opened, by token. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], *, lifetime: float = LIFETIME, most: int = MOST) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._most = most
        self._waiting: dict[str, tuple[float, T]] = {}  # in order of expiry

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, value: T) -> str:
        """A new token for `value`: eight characters of base64url. Raises Fault UNAVAILABLE when too many wait."""
        self._forget_expired()
        if len(self._waiting) >= self._most:
            raise Fault(
                Kind.UNAVAILABLE,
                "a streaming session",
                f"{self._most} sessions were asked for and not yet opened",
                f"open them, or wait {self._lifetime:.0f} s",
            )
        token = secrets.token_urlsafe(6)
        while token in self._waiting:
            token = secrets.token_urlsafe(6)
        self._waiting[token] = (self._clock() + self._lifetime, value)
        return token

    def take(self, token: str) -> T | None:
        """What `token` stands for, once; None for the unknown, used or expired."""
        self._forget_expired()
        found = self._waiting.pop(token, None)
        return found[1] if found else None

    def _forget_expired(self) -> None:
        now = self._clock()
        for token, (expires, _) in list(self._waiting.items()):
            if expires > now:
                break
            del self._waiting[token]
