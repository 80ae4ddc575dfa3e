"""A stock kubelet with a whole control plane: our agent as its runtime, and our shim with cells.

Runs where KUBE_BIN names a folder with the Kubernetes binaries, and says loudly when it does not.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import node_checks
from tests.support.agent import lone_agent
from tests.support.cluster import binaries, running_cluster
from tests.support.controller import running_controller
from tests.support.registry import running_registry

PROGRAMS = binaries()
IMAGE = "registry.demo/web:1"
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
