"""A cell whose controller is gone for good costs nothing further: it powers its instance off by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.test_ec2 import ready
from tests.support.ec2_controller import FLEET, ControllerOnEc2, running_on_ec2
from tests.support.manifests import pod

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"),
    pytest.mark.timeout(300),
    pytest.mark.waits,
]
# Hours, of which a second is 0.00028.
SECONDS = 20
HOMELESS = f"{FLEET}homeless = {SECONDS / 3600:.6f}\n"


async def ended(world: ControllerOnEc2) -> None:
    """Wait until no machine runs, and EC2 says so."""
    async with asyncio.timeout(120):
        while world.instances.alive or set(world.states().values()) != {"terminated"}:
            await asyncio.sleep(0.2)


async def test_an_instance_without_a_controller_powers_itself_off_when_its_time_is_over(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path, fleet=HOMELESS) as world:
        await world.controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await ready(world, "web")
        ends = world.front.count("TerminateInstances")

        # A controller that comes back in time finds its pod running.
        await world.controller.kill(signal.SIGKILL)
        await asyncio.sleep(SECONDS / 4)
        await world.controller.start()
        await ready(world, "web")
        assert world.running()

        await world.controller.kill(signal.SIGKILL)
        await ended(world)
        assert world.front.count("TerminateInstances") == ends, "nobody asked for its end"
