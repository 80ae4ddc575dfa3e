"""GetContainerEvents through the shim, with a real cell: the same as an agent's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from tests.support.cri_events import CREATED, DELETED, STARTED, STOPPED, listening
from tests.support.shim import running_shim

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]


async def test_each_listener_hears_the_whole_life_of_containers_and_sandboxes(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim, listening(shim.runtime) as one, listening(shim.runtime) as two:
        sandbox, container = await shim.pod("sh", "-c", "exit 3", uid="u1")
        for heard in (one, two):
            await heard.until(container, STOPPED)
        await call(shim.runtime.RemoveContainer, cri.RemoveContainerRequest(container_id=container), deadline=30)
        await shim.remove(sandbox)
        for heard in (one, two):
            await heard.until(sandbox, DELETED)
            assert heard.kinds(container) == heard.kinds(sandbox) == [CREATED, STARTED, STOPPED, DELETED]
            assert {event.pod_sandbox_status.metadata.uid for event in heard.events} == {"u1"}
            (told,) = (await heard.until(container, CREATED)).containers_statuses
            assert (told.state, told.log_path) == (cri.CONTAINER_CREATED, str(shim.logs / "u1/c/0.log"))
            (told,) = (await heard.until(container, STOPPED)).containers_statuses
            assert (told.state, told.exit_code, told.reason) == (cri.CONTAINER_EXITED, 3, "Error")
            assert not (await heard.until(container, DELETED)).containers_statuses
            stopped = await heard.until(sandbox, STOPPED)
            assert stopped.pod_sandbox_status.state == cri.SANDBOX_NOTREADY
        assert one.events == two.events
