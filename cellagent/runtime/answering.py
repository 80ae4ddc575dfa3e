"""The two lines that every RPC handler begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from grpclib.server import Stream

from cellwire.faults import Fault, Kind

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Item = TypeVar("Item")

# Items in one message of a streamed list.
PAGE = 100


async def received(stream: Stream[Request, Reply]) -> Request:
    """The request of a unary or server-streaming call."""
    request = await stream.recv_message()
    if request is None:
        raise Fault(Kind.INVALID, "the call", "it holds no request")
    return request


def pages(items: Sequence[Item]) -> list[Sequence[Item]]:
    """The items in pages; none where there are none."""
    return [items[start : start + PAGE] for start in range(0, len(items), PAGE)]
