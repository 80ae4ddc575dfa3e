"""A listener to GetContainerEvents, for tests at either end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import translate_errors

CREATED, STARTED = cri.CONTAINER_CREATED_EVENT, cri.CONTAINER_STARTED_EVENT
STOPPED, DELETED = cri.CONTAINER_STOPPED_EVENT, cri.CONTAINER_DELETED_EVENT


class Heard:
    """What one listener has heard so far."""

    def __init__(self) -> None:
        self.events: list[cri.ContainerEventResponse] = []

    def kinds(self, thing: str) -> list[int]:
        """The kinds of events of one container or sandbox, in order."""
        return [one.container_event_type for one in self.events if one.container_id == thing]

    async def until(self, thing: str, kind: int, seconds: float = 20.0) -> cri.ContainerEventResponse:
        """The first event of a kind, once it is heard."""
        async with asyncio.timeout(seconds):
            while True:
                for one in self.events:
                    if (one.container_id, one.container_event_type) == (thing, kind):
                        return one
                await asyncio.sleep(0.02)


@asynccontextmanager
async def listening(stub: runtime_grpc.RuntimeServiceStub) -> AsyncGenerator[Heard]:
    """Hear every event from now on."""
    heard, ready = Heard(), asyncio.Event()

    async def listen() -> None:
        with translate_errors():
            async with stub.GetContainerEvents.open() as stream:
                await stream.send_message(cri.GetEventsRequest(), end=True)
                await stream.recv_initial_metadata()
                ready.set()
                async for event in stream:
                    heard.events.append(event)

    async with asyncio.TaskGroup() as tasks:
        listener = tasks.create_task(listen())
        await ready.wait()
        yield heard
        listener.cancel()
