"""A stock kubelet with a whole control plane: our agent as its runtime, and our shim with cells.

Runs where KUBE_BIN names a folder with the Kubernetes binaries, and says loudly when it does not.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support import node_checks
from tests.support.agent import lone_agent
from tests.support.cluster import binaries, running_cluster
from tests.support.controller import running_controller
from tests.support.registry import running_registry
from tests.support.worker import link_of, running_worker

PROGRAMS = binaries()
IMAGE = "registry.demo/web:1"
RESTARTS = "jsonpath={.status.containerStatuses[*].restartCount}"
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None or os.geteuid() != 0, reason="KUBE_BIN names no Kubernetes binaries"),
    pytest.mark.timeout(1500),
]


async def test_a_kubelet_with_the_shim_runs_its_pods_in_cells(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    kubelet_pods = tmp_path / "cluster" / "kubelet" / "pods"
    async with running_controller(
        tmp_path, f'[shim]\nsocket = "{tmp_path}/s"\npods_folder = "{kubelet_pods}"\n'
    ) as own:
        gateway = own.cloud.subnet.replace(".0/24", ".1")
        async with running_cluster(PROGRAMS, tmp_path / "cluster", tmp_path / "s", gateway) as cluster:
            await node_checks.works_as_a_node(cluster, IMAGE)
            await node_checks.takes_part_in_debugging(cluster, IMAGE, tmp_path)
            await node_checks.minds_probes_and_ends(cluster, IMAGE)
            await node_checks.takes_up_changed_settings(cluster)
            await cluster.gone("pods", "--all")
            await node_checks.scales(cluster, IMAGE, 3)
            await own.until(lambda cells: not cells)


async def test_a_kubelet_whose_shim_is_a_process_of_its_own_outlives_the_controller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PROGRAMS is not None
    pods = tmp_path / "cluster" / "kubelet" / "pods"
    async with running_controller(tmp_path, lease=300) as own:
        gateway = link_of(own)[0]
        async with (
            running_worker("node-1", tmp_path / "w", own, gateway, pods=pods) as worker,
            running_cluster(PROGRAMS, tmp_path / "cluster", worker.folder / "s", gateway) as cluster,
        ):
            await node_checks.works_as_a_node(cluster, IMAGE)
            await node_checks.takes_part_in_debugging(cluster, IMAGE, tmp_path)

            await own.kill()
            late = node_checks.pod(IMAGE, "late", node_checks.COUNT)
            await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=late)
            begun = time.monotonic()
            assert (await cluster.kubectl("exec", "web", "--", "echo", "there")).strip() == "there"
            took = time.monotonic() - begun
            assert (await cluster.kubectl("logs", "web")).startswith("line 1\nline 2\n")
            await cluster.until("ask again", "describe", "pod", "late")
            begun = time.monotonic()
            await own.start()
            await cluster.ready("pod/late")
            waited = time.monotonic() - begun

            begun = time.monotonic()
            await worker.kill()
            await worker.start()
            await cluster.until("there", "exec", "web", "--", "echo", "there")
            back = time.monotonic() - begun
            lines = (await cluster.kubectl("logs", "web")).splitlines()
            assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]
            assert "0" in (await cluster.kubectl("get", "pod", "web", "-o", RESTARTS)).split()
            await cluster.gone("pods", "--all")
            await node_checks.scales(cluster, IMAGE, 3)
            await own.until(lambda cells: not cells)
    with capsys.disabled():
        print(
            f"\nkubectl exec without a controller took {took:.1f} s; a pod that waited ran {waited:.1f} s after its"
            f" start; exec answered {back:.1f} s after the shim was killed"
        )


async def test_a_kubelet_with_the_agent_alone_is_a_whole_node(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    async with running_registry() as registry, lone_agent(tmp_path, registry) as (socket, gateway, _):
        async with running_cluster(PROGRAMS, tmp_path / "cluster", socket, gateway) as cluster:
            await node_checks.works_as_a_node(cluster, IMAGE)
            await node_checks.takes_part_in_debugging(cluster, IMAGE, tmp_path)
            await node_checks.minds_probes_and_ends(cluster, IMAGE)
            await node_checks.takes_up_changed_settings(cluster)
            await cluster.gone("pods", "--all")
            await node_checks.scales(cluster, IMAGE, 5)
