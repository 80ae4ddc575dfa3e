"""One controller for the tests of a file that do nothing to it: each has pods of its own, by their uids."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from tests.support.controller import Controller, running_controller
from tests.support.shim import STANDBY, RunningShim, settings_in, shim_of


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def controller_of_this_file(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Controller]:
    """A controller with a shim and a warm cell, while the tests of one file run."""
    folder = tmp_path_factory.mktemp("shim")
    # None of them is about silence, and a machine may stand still for longer than the usual lease.
    async with running_controller(folder, settings_in(folder) + STANDBY, lease=60) as controller:
        yield controller


@pytest_asyncio.fixture
async def shim(controller_of_this_file: Controller) -> AsyncGenerator[RunningShim]:
    """Its shim, with no pod before the test and none after it."""
    with shim_of(controller_of_this_file, controller_of_this_file.folder) as one:
        yield one
        pods = await call(one.runtime.ListPodSandbox, cri.ListPodSandboxRequest(), deadline=10)
        for pod in pods.items:
            await one.remove(pod.id)
