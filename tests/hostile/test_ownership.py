"""What cells tell of each other's sandboxes and containers, behind a kubelet: nothing of it is believed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.call import call
from tests.support.hostile import HostileCell, hostile_cell, peak, peak_begins
from tests.support.shim import RunningShim, running_shim

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]

LOOP = "echo mine > /mine; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done"
# docs/threat-model.md says so of the answers of one cell.
MOST_BYTES = 256 << 20
FORGED = 450_000


class Victim:
    """An honest pod behind the kubelet."""

    def __init__(self, shim: RunningShim, uid: str, sandbox: str, container: str) -> None:
        self.shim, self.sandbox, self.container = shim, sandbox, container
        self._log = shim.logs / uid / "c/0.log"
        self._lines = 0

    async def holds(self) -> None:
        """It is shown as it is, its log has come whole and goes on, and its exec is its own."""
        assert (await self.shim.sandbox_status(self.sandbox)).state == cri.SANDBOX_READY
        assert (await self.shim.status(self.container)).state == cri.CONTAINER_RUNNING
        assert await self.shim.said(self.container, "cat /mine") == "mine\n"
        before = self._lines
        async with asyncio.timeout(30):
            while self._lines <= before:
                lines = [
                    line.split(" ", 3)[3] for line in self._log.read_text().splitlines(keepends=True) if "\n" in line
                ]
                assert lines == [f"line {number}\n" for number in range(1, len(lines) + 1)]
                self._lines = len(lines)
                await asyncio.sleep(0.05)


@asynccontextmanager
async def evil_pod(shim: RunningShim, uid: str) -> AsyncGenerator[tuple[HostileCell, str, str]]:
    """A pod whose cell is in an attacker's hands: the cell, the sandbox and the container."""
    sandbox, container = await shim.pod(uid=uid)
    (cell,) = [one for one in await shim.controller.cells() if one["pod"] == f"default/pod-{uid}"]
    async with hostile_cell(shim.controller, cell, container, sandbox) as hostile:
        await hostile.until_asked("GetContainerEvents")
        yield hostile, sandbox, container


async def events(cell: HostileCell, victim: Victim) -> None:
    """The victim's sandbox is told to have ended, and then its container."""
    ended = cri.ContainerStatus(id=victim.container, state=cri.CONTAINER_EXITED, exit_code=1)
    over = cri.PodSandboxStatus(id=victim.sandbox, state=cri.SANDBOX_NOTREADY)
    for told in (
        cri.ContainerEventResponse(containers_statuses=[ended]),
        cri.ContainerEventResponse(pod_sandbox_status=over),
    ):
        connections = cell.connections
        cell.say("GetContainerEvents", told, stays=True)
        await cell.until(lambda before=connections: cell.connections > before)


async def lists(cell: HostileCell, victim: Victim) -> None:
    """Asked for its own, it tells of the victim's."""
    ended = cri.ContainerStatus(id=victim.container, state=cri.CONTAINER_EXITED, exit_code=1)
    over = cri.PodSandboxStatus(id=victim.sandbox, state=cri.SANDBOX_NOTREADY)
    cell.say("ListContainers", cri.ListContainersResponse(containers=[cri.Container(id=victim.container)]))
    cell.say("ContainerStatus", cri.ContainerStatusResponse(status=ended))
    cell.say("PodSandboxStatus", cri.PodSandboxStatusResponse(status=over))
    connections = cell.connections
    cell.redial()
    await cell.until(lambda: cell.connections > connections + 1)


async def files(cell: HostileCell, victim: Victim) -> None:
    """Logs and messages are led to where the victim's are."""
    stolen = cri.ContainerStatus(
        id=cell.container,
        state=cri.CONTAINER_EXITED,
        log_path=str(victim.shim.logs),
        mounts=[cri.Mount(host_path="/etc")],
    )
    cell.say("ContainerStatus", cri.ContainerStatusResponse(status=stolen))
    answered = cell.answered["Logs"]
    cell.say("Logs", wire.LogChunk(data=b"2026-01-01T00:00:00Z stdout F overwritten\n", end=True))
    await cell.until(lambda: cell.answered["Logs"] > answered)
    asked = sum(method == "ContainerStatus" for method, _ in cell.asked)
    cell.redial()
    await cell.until_asked("ContainerStatus", asked + 1)


LIES: tuple[Callable[[HostileCell, Victim], Awaitable[None]], ...] = (events, lists, files)


async def test_a_cell_speaks_for_no_other_pod_behind_a_kubelet(tmp_path: Path) -> None:
    async with running_shim(tmp_path, lease=60) as shim:
        victim = Victim(shim, "victim", *await shim.pod("sh", "-c", LOOP, uid="victim"))
        await victim.holds()
        for lie in LIES:
            async with evil_pod(shim, lie.__name__) as (cell, _, _):
                await lie(cell, victim)
                await victim.holds()


async def test_a_new_container_or_sandbox_is_never_anothers(tmp_path: Path) -> None:
    async with running_shim(tmp_path, lease=60) as shim:
        victim = Victim(shim, "victim", *await shim.pod("sh", "-c", LOOP, uid="victim"))
        async with evil_pod(shim, "container") as (cell, sandbox, _):
            cell.say("PullImage", cri.PullImageResponse(image_ref="sha256:" + "0" * 64))
            cell.say("ImageStatus", cri.ImageStatusResponse(image=cri.Image(id="sha256:" + "0" * 64)))
            cell.say("MakeContainer", wire.MakeContainerReply(status=cri.ContainerStatus(id=victim.container)))
            with pytest.raises(Fault):
                await shim.create(sandbox, shim.config("container"), attempt=1)
            await victim.holds()

        await shim.controller.until(lambda cells: any(one["state"] == "ready" for one in cells))
        (warm,) = [one for one in await shim.controller.cells() if one["state"] == "ready"]
        async with hostile_cell(shim.controller, warm) as cell:
            await cell.until(lambda: cell.connections > 0)
            cell.say("RunPodSandbox", cri.RunPodSandboxResponse(pod_sandbox_id=victim.sandbox))
            cell.say("ListPodSandbox", cri.ListPodSandboxResponse())
            with pytest.raises(Fault):
                await shim.run(shim.config("sandbox"), deadline=20)
            await victim.holds()


async def test_stats_of_others_are_left_out_and_many_cost_little(tmp_path: Path) -> None:
    async with running_shim(tmp_path, lease=60) as shim:
        victim = Victim(shim, "victim", *await shim.pod("sh", "-c", LOOP, uid="victim"))
        async with evil_pod(shim, "stats") as (cell, _, container):
            forged = cri.ContainerStats(attributes=cri.ContainerAttributes(id=victim.container))
            forged.memory.working_set_bytes.value = 1 << 60
            own = cri.ContainerStats(attributes=cri.ContainerAttributes(id=container))
            before = peak_begins(shim.controller)
            cell.say("ListPodSandboxStats", cri.ListPodSandboxStatsResponse())
            cell.say("ListPodSandboxMetrics", cri.ListPodSandboxMetricsResponse())
            cell.say("ListContainerStats", cri.ListContainerStatsResponse(stats=[forged, own]))
            await cell.until_asked("ListContainerStats", 2)
            asked = sum(name == "ListContainerStats" for name, _ in cell.asked)
            many = cri.ListContainerStatsResponse.FromString(b"\x0a\x00" * FORGED)
            cell.say("ListContainerStats", many)
            await cell.until_asked("ListContainerStats", asked + 1)
            await victim.holds()
            found = await call(shim.runtime.ListContainerStats, cri.ListContainerStatsRequest(), deadline=30)
            assert all(one.memory.working_set_bytes.value < 1 << 40 for one in found.stats)
            assert len(found.stats) <= 2
            grown = peak(shim.controller) - before
            print(f"{grown >> 10} KiB more")
            assert grown < MOST_BYTES
