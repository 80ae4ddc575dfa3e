"""What cells tell too much of: long, many, unfolding. Cut or counted, or the end of their connections, and no more."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.limits import LONGEST
from controller.pods.log_files import MESSAGE_BYTES
from tests.support.hostile import (
    HostileCell,
    beside_pods,
    container_of,
    peak,
    peak_begins,
    taken_over,
)

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]

# docs/threat-model.md says so of the answers of one cell.
MOST_BYTES = 256 << 20
MIB = 1 << 20
EMPTY_STATUS = cri.ContainerEventResponse(containers_statuses=[cri.ContainerStatus()]).SerializeToString()
EMPTY_CONTAINER = cri.ListContainersResponse(containers=[cri.Container()]).SerializeToString()


def many_moments(cell: HostileCell, container: str) -> None:
    """A hello of as many as a message takes, and one of far more."""
    del container
    hellos = [wire.Hello(moments={f"moment-{n}": 1.0 for n in range(count)}) for count in (600, 20_000)]
    cell.say("Report", *[wire.ReportMessage(hello=one) for one in hellos], stays=True)


def heartbeats(cell: HostileCell, container: str) -> None:
    del container

    async def report(_: Any) -> AsyncIterator[wire.ReportMessage]:
        for _ in range(6_000):
            yield wire.ReportMessage(heartbeat=wire.Heartbeat(at=time.time(), memory_used_bytes=2**64 - 1))

    cell.script("Report", report)


def many_events(cell: HostileCell, container: str) -> None:
    event = cri.ContainerEventResponse(container_id=container, containers_statuses=[cri.ContainerStatus(id=container)])

    async def events(_: Any) -> AsyncIterator[cri.ContainerEventResponse]:
        for _ in range(6_000):
            yield event

    cell.script("GetContainerEvents", events)


def unfolding_events(cell: HostileCell, container: str) -> None:
    del container
    longest = LONGEST["/runtime.v1.RuntimeService/GetContainerEvents"] // len(EMPTY_STATUS) - 1
    events = [cri.ContainerEventResponse.FromString(EMPTY_STATUS * count) for count in (longest, 2 * longest)]
    cell.say("GetContainerEvents", *events, stays=True)


def unfolding_lists(cell: HostileCell, container: str) -> None:
    cell.say("ListContainers", cri.ListContainersResponse.FromString(EMPTY_CONTAINER * (MIB // len(EMPTY_CONTAINER))))
    image = cri.Image(id="i", repo_tags=["x" * 100] * (3 * MIB // 100))
    cell.say("ImageStatus", cri.ImageStatusResponse(image=image))
    cell.say("PodSandboxStatus", cri.PodSandboxStatusResponse(status=cri.PodSandboxStatus(id="x" * 3 * MIB)))
    _end(cell, container)


def long_message(cell: HostileCell, container: str) -> None:
    """A termination message as long as an answer may be, after one of 24 MiB."""

    async def read(_: Any) -> AsyncIterator[wire.ReadFileReply]:
        yield wire.ReadFileReply(data=b"m" * (24 * MIB if cell.answered["ReadFile"] < 2 else MIB))

    cell.script("ReadFile", read)
    _end(cell, container, reason="r" * 100_000, message="m" * 100_000)


def long_faults(cell: HostileCell, container: str) -> None:
    del container
    fault = Fault(Kind.BROKEN, "t" * 10_000, "c" * 20_000, "m" * 10_000, reason="r" * 10_000)
    for method in (*cell.says,):
        if method != "Report":
            cell.refuse(method, fault)


def numbers_without_sense(cell: HostileCell, container: str) -> None:
    status = cri.ContainerStatus(id=container, state=cri.CONTAINER_EXITED, exit_code=-(2**31), finished_at=2**63 - 1)
    cell.say("ContainerStatus", cri.ContainerStatusResponse(status=status))
    cell.say("GetContainerEvents", cri.ContainerEventResponse(containers_statuses=[status]), stays=True)
    cell.say("Logs", wire.LogChunk(offset=2**64 - 1, data=b"x", gone=2**64 - 1, end=True))


def _end(cell: HostileCell, container: str, **more: Any) -> None:
    """The container is told to have ended, so that all is asked of it."""
    now = time.time_ns()
    ended = cri.ContainerStatus(
        id=container,
        metadata=cri.ContainerMetadata(name="main"),
        state=cri.CONTAINER_EXITED,
        created_at=now,
        started_at=now,
        finished_at=now,
        **more,
    )
    cell.say("ContainerStatus", cri.ContainerStatusResponse(status=ended))
    event = cri.ContainerEventResponse(container_id=container, containers_statuses=[ended])
    cell.say("GetContainerEvents", event, stays=True)
    cell.say("Logs", wire.LogChunk(end=True))


LIES: tuple[Callable[[HostileCell, str], None], ...] = (
    many_moments,
    heartbeats,
    many_events,
    unfolding_events,
    unfolding_lists,
    long_message,
    long_faults,
    numbers_without_sense,
)


async def test_what_cells_tell_without_measure_costs_an_honest_pod_nothing(tmp_path: Path) -> None:
    names = [lie.__name__.replace("_", "-") for lie in LIES]
    async with beside_pods(tmp_path, *names, lease=60) as (controller, honest):
        for name, lie in zip(names, LIES, strict=True):
            container = await container_of(controller, name)
            async with taken_over(controller, name) as cell:
                await cell.until_asked("GetContainerEvents")
                before, connections = peak_begins(controller), cell.connections
                lie(cell, container)
                # From now on, and not only what is asked next.
                cell.redial()
                await cell.until(lambda cell=cell, before=connections: cell.connections > before)
                await asyncio.sleep(2)
                print(f"{name}: {(peak(controller) - before) >> 10} KiB more")
                assert peak(controller) - before < MOST_BYTES, name
        await honest.holds()
        shown = await controller.kubectl("get", "pods", "-o", "json")
        assert len(shown) < 100_000
        message = "jsonpath={.status.containerStatuses[0].lastState.terminated.message}"
        assert len(await controller.kubectl("get", "pod", "long-message", "-o", message)) <= MESSAGE_BYTES
        assert "moment-1" not in str(await controller.cells())
        assert controller.process is not None
        assert controller.process.returncode is None, controller.words()
        assert len(controller.without_traceback()) < MIB
