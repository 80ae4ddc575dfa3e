"""Much data, slow peers and many sessions through the shim: over the turned connection to the agent of a cell."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller.clouds.local import instance_cgroups
from tests.support import flow
from tests.support.flow import Flow
from tests.support.processes import command_line
from tests.support.shim import RunningShim, running_shim

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(180 + 2 * flow.MUCH // flow.MIB),
]
# Two hundred processes of runc do not fit into the smallest cell.
LARGE = '[[standby]]\ncount = 1\ncpu = "1"\nmemory = "4Gi"\n'
# Two hundred commands that start at once on a busy machine can keep a cell's agent from being heard for longer than the
# short lease of other tests; no test here is about silence.
LEASE_SECONDS = 120


@asynccontextmanager
async def flowing(folder: Path) -> AsyncGenerator[Flow]:
    async with running_shim(folder, LARGE, LEASE_SECONDS) as shim:
        config = shim.config()
        config.linux.resources.cpu_shares = 1024
        config.linux.resources.memory_limit_in_bytes = 4 << 30
        sandbox = await shim.run(config)
        container = await shim.create(sandbox, config, "sleep", "3600")
        await shim.start(container)
        await sandbox_ready(shim)
        process = shim.controller.process
        assert process is not None
        yield Flow(shim.runtime, sandbox, container, [process.pid, await agent_of(shim)])


async def sandbox_ready(shim: RunningShim) -> None:
    """Until the pool has its warm cell again, so that nothing boots meanwhile."""
    await shim.controller.until(lambda cells: all(cell["state"] in {"ready", "claimed"} for cell in cells))


async def agent_of(shim: RunningShim) -> int:
    """The agent of the cell with the pod, as this machine numbers it."""
    (cell,) = [cell for cell in await shim.controller.cells() if cell["state"] == "claimed"]
    groups = instance_cgroups.Groups(shim.controller.cloud.cluster, shim.controller.cloud.cgroup_parent)
    return min(
        pid
        for pid in groups.pids(cell["instance"])
        if b"cellagent" in (words := command_line(pid)) and b"python" in words
    )


async def test_clients_commands_and_ports_hold_each_other(tmp_path: Path) -> None:
    async with flowing(tmp_path) as pod:
        await pod.serve_ports()
        await flow.a_slow_reader_holds_what_a_command_says(pod)
        await flow.a_command_that_does_not_read_holds_its_client(pod)
        await flow.a_slow_reader_holds_what_a_port_says(pod)
        await flow.a_port_that_does_not_read_holds_its_client(pod)


async def test_much_goes_through_exec_and_port_forward_and_back_whole(tmp_path: Path) -> None:
    async with flowing(tmp_path) as pod:
        await pod.serve_ports()
        await flow.exec_is_whole_both_ways(pod)
        await flow.port_forward_is_whole_both_ways(pod)


async def test_two_hundred_sessions_are_held_at_once(tmp_path: Path) -> None:
    async with flowing(tmp_path) as pod:
        await pod.serve_ports()
        await flow.many_commands_run_at_once(pod)
        await flow.many_connections_are_forwarded_at_once(pod)
