"""One forwarded connection between a client, in whatever dialect, and a port of a pod; each half closes by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from cellwire.faults import Fault
from cellwire.rpc.carried import Piece
from cellwire.stream.inbox import Aborted, Inbox
from cellwire.stream.session import Tunnel

log = logging.getLogger(__name__)

Dial = Callable[[int], AbstractAsyncContextManager[Tunnel]]
"""Opens a connection to a port of the pod."""


class Ends(Protocol):
    """The client's end of one forwarded connection."""

    inbox: Inbox

    async def write(self, data: Piece) -> None:
        """Bytes from the pod."""
        ...

    async def finish(self) -> None:
        """The pod has said everything, and nothing went wrong."""
        ...

    async def fail(self, sentence: str) -> None:
        """The port could not be reached, or broke. Other connections of the client go on."""
        ...

    async def drop(self) -> None:
        """Nothing more is to be said in either direction."""
        ...


async def carry(ends: Ends, dial: Dial, port: int) -> None:
    """Dial and carry bytes both ways until both halves have ended, or the client gives up."""
    try:
        async with dial(port) as tunnel, asyncio.TaskGroup() as tasks:
            tasks.create_task(_upwards(ends.inbox, tunnel))
            async for data in tunnel.received():
                await ends.write(data)
            await ends.finish()
    except* Aborted:
        await ends.drop()
    except* Fault as faults:
        ends.inbox.discard()
        await ends.fail(f"error forwarding port {port} to pod: {_first(faults)}")
    except* Exception:
        log.exception("a forwarded connection failed")
        ends.inbox.discard()
        await ends.fail(f"error forwarding port {port} to pod: an internal error; the log has the details")


def _first(group: BaseExceptionGroup) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _upwards(inbox: Inbox, tunnel: Tunnel) -> None:
    """Carry what the client sends. A pod that takes no more is no fault by itself: `received` tells of those."""
    try:
        while data := await inbox.pieces():
            await tunnel.write(*data)
        await tunnel.close_writing()
    except Fault:
        inbox.discard()
