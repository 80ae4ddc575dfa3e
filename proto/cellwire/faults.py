"""What can go wrong, in the one shape that crosses room walls and wires.

A fault names the thing, the cause and the mend, in a sentence for the person who must act. Rooms raise faults
and let no library's exception out; each edge translates them once (rpc.status, the HTTP API, the command line).
"""

from __future__ import annotations

import enum


class Kind(enum.Enum):
    """Kind of a fault: what a caller can do about it."""

    NOT_FOUND = "not found"
    EXISTS = "exists"
    INVALID = "invalid"
    NO_CAPACITY = "no capacity"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    """Something else that the failed thing needs does not answer; who says so was reached."""
    UNREACHABLE = "unreachable"
    """The other end of the caller's own connection does not answer. Never told by that end: see rpc.status."""
    TIMEOUT = "timeout"
    PRECONDITION = "precondition"
    UNSUPPORTED = "unsupported"
    BROKEN = "broken"


def legible(told: str) -> str:
    """A text of somebody else's without what a terminal or a log would obey: what is not printable, but for the ends of
    lines and tabs, is a question mark.
    """
    if told.isprintable():
        return told
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in told)


class Fault(Exception):
    """A failure told as thing, cause and mend.

    `thing` is what failed ("image nginx:1.29"), `cause` why ("the registry answered 401"), `mend` what the reader
    can do ("add an imagePullSecret"); `mend` may be empty where there is nothing to do. `reason` is an optional
    CamelCase word for machines ("ErrImagePull").
    """

    def __init__(self, kind: Kind, thing: str, cause: str, mend: str = "", *, reason: str = "") -> None:
        self.kind = kind
        self.thing = thing
        self.cause = cause
        self.mend = mend
        self.reason = reason
        super().__init__(str(self))

    def __str__(self) -> str:
        sentence = f"{self.thing}: {self.cause}"
        return f"{sentence}; {self.mend}" if self.mend else sentence
