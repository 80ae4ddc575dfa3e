"""GetContainerEvents of the agent: the order of a life, many listeners, and one that does not listen."""

from __future__ import annotations

import asyncio

import pytest
from grpclib.client import Stream
from grpclib.exceptions import GRPCError

from cellagent.runtime.container_events import BACKLOG
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from tests.component.runtime.conftest import Agents
from tests.support.cri_events import CREATED, DELETED, STARTED, STOPPED, listening


async def test_each_listener_hears_the_whole_life_of_containers_and_sandboxes_with_the_pods_status(
    agent: Agents,
) -> None:
    async with agent() as client, listening(client.stub) as one, listening(client.stub) as two:
        sandbox = await client.sandbox(client.sandbox_config(labels={"app": "web"}))
        container = await client.create(sandbox, "sh", "-c", "exit 3")
        await client.start(container)
        await client.exited(container)
        remove = cri.RemoveContainerRequest(container_id=container)
        await call(client.stub.RemoveContainer, remove, deadline=10)
        await client.tidy()
        for heard in (one, two):
            await heard.until(sandbox, DELETED)
            assert heard.kinds(container) == heard.kinds(sandbox) == [CREATED, STARTED, STOPPED, DELETED]
            assert all(event.pod_sandbox_status.labels == {"app": "web"} for event in heard.events)
            assert all(event.created_at > 0 for event in heard.events)
            states = (cri.CONTAINER_CREATED, cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED)
            for kind, state in zip((CREATED, STARTED, STOPPED), states, strict=True):
                (told,) = (await heard.until(container, kind)).containers_statuses
                assert (told.id, told.state) == (container, state)
            (told,) = (await heard.until(container, STOPPED)).containers_statuses
            assert (told.exit_code, told.reason) == (3, "Error")
            deleted = await heard.until(container, DELETED)
            assert not deleted.containers_statuses
            assert deleted.pod_sandbox_status.state == cri.SANDBOX_READY
            stopped = await heard.until(sandbox, STOPPED)
            assert stopped.pod_sandbox_status.state == cri.SANDBOX_NOTREADY
        assert one.events == two.events


async def drained(stream: Stream[cri.GetEventsRequest, cri.ContainerEventResponse]) -> None:
    while await stream.recv_message() is not None:
        pass
    await stream.recv_trailing_metadata()


async def test_a_listener_that_does_not_read_holds_up_nobody_and_is_told_that_it_missed_some(agent: Agents) -> None:
    large = "x" * 4000
    async with agent() as client:
        # A connection of its own: on one connection the streams share what may be unread.
        apart = MendedChannel(CELL, path=str(client.folder / "s"))
        async with runtime_grpc.RuntimeServiceStub(apart).GetContainerEvents.open() as slow:
            await slow.send_message(cri.GetEventsRequest(), end=True)
            await slow.recv_initial_metadata()
            async with listening(client.stub) as quick:
                # As after hours of pods that come and go: more than its queue and its connection hold.
                for number in range(1, 2 * BACKLOG + 1):
                    client.room.events().emit(cri.ContainerEventResponse(container_id=large))
                    if number % 500 == 0:
                        async with asyncio.timeout(10):
                            while len(quick.events) < number:
                                await asyncio.sleep(0.001)
                container = await client.run("true")
                await quick.until(container, STOPPED)
            with pytest.raises(GRPCError, match="list, and subscribe again"):
                await drained(slow)
        apart.close()
