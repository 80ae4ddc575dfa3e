"""JSON of strangers: decoded in bounded time, and refused with a sentence where it is nested or branches without end.

The decoder holds the whole process while it works, and what it takes for a text of a few megabytes is not its length
but the lists and objects in it: a million empty ones are seconds.
"""

from __future__ import annotations

from typing import Any, TypeVar, overload

import msgspec

MOST_BRANCHES = 100_000
"""Lists and objects of one text: some tens of milliseconds."""

T = TypeVar("T")


@overload
def decode(data: bytes) -> Any: ...  # an edge
@overload
def decode(data: bytes, kind: type[T]) -> T: ...
def decode(data: bytes, kind: Any = Any) -> Any:
    """What a text says. Raises msgspec.DecodeError for whatever is wrong with it."""
    if not is_bounded(data):
        raise msgspec.DecodeError(f"it has more than {MOST_BRANCHES} lists and objects")
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"it is no UTF-8: {error}") from error


def is_bounded(data: bytes) -> bool:
    """Whether a text has as many lists and objects as are decoded at the most. Those within its strings are none."""
    if _branches(data) <= MOST_BRANCHES:
        return True
    pieces = data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    return _branches(b"".join(pieces[::2])) <= MOST_BRANCHES


def _branches(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")
