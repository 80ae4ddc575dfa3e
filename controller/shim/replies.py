"""Replies of CRI's handlers: one to a unary call, a long list in pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from grpclib.server import Stream

from cellwire.rpc.written import Written

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)
PAGE = 500


async def answer(
    stream: Stream[Request, Reply], handle: Callable[[Request], Awaitable[Reply | Written[Reply]]]
) -> None:
    """One unary call: receive, handle, reply."""
    request = await stream.recv_message()
    if request is not None:
        await stream.send_message(cast("Reply", await handle(request)))


def pages(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """A list in pieces that stay below a client's message limit."""
    for start in range(0, len(items), PAGE):
        yield items[start : start + PAGE]
