"""Container events, to everyone who listens.

A listener that does not keep up loses its subscription rather than the runtime its memory: the stream ends with a
fault, and a kubelet or controller then lists everything and subscribes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

BACKLOG = 4096


class Subscription:
    """One listener's own queue."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[cri.ContainerEventResponse] = asyncio.Queue(BACKLOG)
        self._lost = False

    def offer(self, event: cri.ContainerEventResponse) -> None:
        """Queue an event, or mark this listener as too slow."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._lost = True

    async def next(self) -> cri.ContainerEventResponse:
        """The next event. Raises Fault UNAVAILABLE after events were lost."""
        if self._lost:
            raise Fault(
                Kind.UNAVAILABLE, "container events", f"more than {BACKLOG} waited", "list, and subscribe again"
            )
        return await self._queue.get()


class ContainerEvents:
    """The fan-out of GetContainerEvents."""

    def __init__(self) -> None:
        self._listeners: set[Subscription] = set()

    @contextmanager
    def subscribed(self) -> Generator[Subscription]:
        """Everything from now on."""
        subscription = Subscription()
        self._listeners.add(subscription)
        try:
            yield subscription
        finally:
            self._listeners.discard(subscription)

    def emit(self, event: cri.ContainerEventResponse) -> None:
        """Tell every listener."""
        for listener in tuple(self._listeners):
            listener.offer(event)

    @property
    def wanted(self) -> bool:
        """Whether anybody listens: an event nobody reads need not be made."""
        return bool(self._listeners)
