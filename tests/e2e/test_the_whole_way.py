"""Plain kubectl, a controller process, instances that really boot: what a user would miss if it broke."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from controller.clouds.local import instance_cgroups
from controller.clouds.local.sweep import Leftovers
from tests.support.controller import Controller, running_controller
from tests.support.manifests import COUNT, pod
from tests.support.processes import command_line, first_of
from tests.support.waiting import until

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(300)]


def processes_of(controller: Controller, instance: str, words: str) -> list[int]:
    """Pids, as this machine sees them, of an instance's processes whose command line has these words."""
    pids = instance_cgroups.Groups(controller.cloud.cluster, controller.cloud.cgroup_parent).pids(instance)
    return [pid for pid in sorted(pids) if words.encode() in command_line(pid)]


OWN = {"FEA9FEA9:0050", "0101FEA9:0035"}


def listening(pid: int) -> list[str]:
    """TCP sockets in state LISTEN in the network namespace of a process, but for the metadata service's and that at
    which the agent answers its own pod's questions for names, and nobody else's.
    """
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()]
    return [row[1] for row in rows if len(row) > 3 and row[3] == "0A" and row[1] not in OWN]


async def test_a_pod_lives_and_dies_as_kubectl_expects(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=pod("web", COUNT))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")

        shown = await controller.kubectl("get", "pods", "-o", "wide")
        assert re.search(r"web +1/1 +Running +0 +\d+s +10\.230\.\d+\.\d+ +c-\w+", shown), shown
        await controller.logged("web", "line 1\nline 2\n")
        status, _, _ = await controller.kubectl_raw("exec", "web", "--", "sh", "-c", "exit 7")
        assert status == 7
        (cell,) = await controller.cells()
        config = str(controller.folder / "controller.toml")
        (printed,) = json.loads(await controller.run("cells", "--json", "--config", config))
        assert (printed["name"], printed["pod"]) == (cell["name"], cell["pod"])
        (agent,) = processes_of(controller, cell["instance"], "cellagent")[:1]
        assert listening(agent) == [], "a cell opens no port"

        await controller.kubectl("delete", "pod", "web")
        await controller.until(lambda cells: not cells)


async def test_a_volume_in_memory_is_bounded_and_outlives_a_container(tmp_path: Path) -> None:
    command = "echo started >> /scratch/log; [ $(wc -l < /scratch/log) -gt 1 ] || exit 1; sleep 3600"
    volume = """
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {medium: Memory, sizeLimit: 8Mi}}]
"""
    async with running_controller(tmp_path) as controller:
        kubectl = controller.kubectl
        await kubectl("apply", "-f", "-", stdin=pod("web", command).replace("\n---", volume))
        again = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
        await kubectl("wait", again, "pod/web", "--timeout=60s", seconds=70)
        await kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s", seconds=70)
        mounted = await kubectl("exec", "web", "--", "sh", "-c", "grep ' /scratch ' /proc/mounts")
        assert mounted.startswith("tmpfs"), mounted
        assert "size=8192k" in mounted
        status, _, errors = await controller.kubectl_raw(
            "exec", "web", "--", "sh", "-c", "dd if=/dev/zero of=/scratch/big bs=1M count=9"
        )
        assert status != 0
        assert "No space left" in errors
        await kubectl("delete", "pod", "web")
        await controller.until(lambda cells: not cells)


async def test_an_impossible_pod_says_which_demand_no_type_meets(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        big = pod("big").replace("cpu: 50m", "cpu: 900")
        await controller.kubectl("apply", "-f", "-", stdin=big)
        await asyncio.sleep(1)
        described = await controller.kubectl("describe", "pod", "big")
        assert "900000m CPU" in described
        assert "no instance type meets it" in described


async def test_pods_outlive_a_killed_controller_and_no_line_is_lost_or_doubled(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=pod("count", COUNT))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/count", "--timeout=60s")
        before = await controller.cells()

        await controller.kill()
        await asyncio.sleep(2)
        await controller.start()

        await controller.until(lambda cells: [cell["connected"] for cell in cells] == [True])
        assert [cell["name"] for cell in await controller.cells()] == [cell["name"] for cell in before]
        shown = await controller.kubectl("get", "pod", "count")
        assert re.search(r"1/1 +Running +0 ", shown), shown
        await asyncio.sleep(1)
        lines = (await controller.kubectl("logs", "count")).splitlines()
        assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]
        assert len(lines) > 60


async def test_a_killed_agent_comes_back_to_running_containers(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=pod("count", COUNT))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/count", "--timeout=60s")
        (cell,) = await controller.cells()
        log = tmp_path / "controller.log"
        connections = log.read_text().count("event='cell connected'")
        for agent in processes_of(controller, cell["instance"], "cellagent\0run"):
            os.kill(agent, signal.SIGKILL)
        await until(lambda: log.read_text().count("event='cell connected'") > connections)

        await asyncio.sleep(1)
        shown = await controller.kubectl("get", "pod", "count")
        assert re.search(r"1/1 +Running +0 ", shown), shown
        lines = (await controller.kubectl("logs", "count")).splitlines()
        assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]


async def test_a_finished_pod_keeps_its_logs_and_its_instance_is_gone(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=pod("once", "seq 1000; exit 3", "Never"))
        await controller.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/once", "--timeout=60s")
        await controller.until(lambda cells: not cells)
        assert (await controller.kubectl("logs", "once")).split() == [str(number) for number in range(1, 1001)]
        code = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"
        assert await controller.kubectl("get", "pod", "once", "-o", code) == "3"


async def test_a_cell_whose_instance_dies_is_lost_and_its_pod_runs_anew(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=pod("web"))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        (cell,) = await controller.cells()
        os.kill(first_of(processes_of(controller, cell["instance"], "")), signal.SIGKILL)

        def another(cells: list[dict[str, Any]]) -> bool:
            return any(one["name"] != cell["name"] and one["connected"] for one in cells)

        await controller.until(another)
        await controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")


async def test_twenty_pods_at_once_all_run_and_leave_nothing(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        before = await controller.left()
        names = [f"pod-{number}" for number in range(20)]
        await controller.kubectl("apply", "-f", "-", stdin="".join(pod(name) for name in names))
        for name in names:
            await controller.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s", seconds=130)
        assert len(await controller.cells()) == 20

        await controller.kubectl("delete", "pods", "--all", seconds=120)
        await controller.until(lambda cells: not cells)
        left = await controller.left()
        for _ in range(40):
            if left == before or left == Leftovers():
                break
            await asyncio.sleep(0.25)
            left = await controller.left()
        assert left in (before, Leftovers())
