"""Much data, slow peers and many sessions at the URLs of a lone agent, which is a process of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.component.runtime.conftest import Processes
from tests.support import flow
from tests.support.flow import Flow

pytestmark = pytest.mark.timeout(120 + flow.MUCH // flow.MIB)


@asynccontextmanager
async def flowing(agent_process: Processes) -> AsyncGenerator[Flow]:
    async with agent_process() as agent:
        sandbox = await agent.client.sandbox()
        container = await agent.client.create(sandbox, "sleep", "3600")
        await agent.client.start(container)
        yield Flow(agent.client.stub, sandbox, container, [agent.pid])


@pytest.mark.parametrize(
    "held",
    [flow.a_slow_reader_holds_what_a_command_says, flow.a_command_that_does_not_read_holds_its_client],
)
async def test_a_command_and_its_client_hold_each_other(
    agent_process: Processes, held: Callable[[Flow], Awaitable[None]]
) -> None:
    async with flowing(agent_process) as pod:
        await held(pod)


@pytest.mark.parametrize(
    "held", [flow.a_slow_reader_holds_what_a_port_says, flow.a_port_that_does_not_read_holds_its_client]
)
async def test_a_port_and_its_client_hold_each_other(
    agent_process: Processes, held: Callable[[Flow], Awaitable[None]]
) -> None:
    async with flowing(agent_process) as pod:
        await pod.serve_ports()
        await held(pod)


async def test_much_goes_through_exec_and_port_forward_and_back_whole(agent_process: Processes) -> None:
    async with flowing(agent_process) as pod:
        await pod.serve_ports()
        await flow.exec_is_whole_both_ways(pod)
        await flow.port_forward_is_whole_both_ways(pod)


async def test_two_hundred_sessions_are_held_at_once(agent_process: Processes) -> None:
    async with flowing(agent_process) as pod:
        await pod.serve_ports()
        await flow.many_commands_run_at_once(pod)
        await flow.many_connections_are_forwarded_at_once(pod)
