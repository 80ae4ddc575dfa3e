"""A pod's demand follows Kubernetes' rule for containers, init containers and sidecars."""

from __future__ import annotations

from typing import Any

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.choice.demand import Overhead, of_sandbox
from tests.support.typed_pods import demand_of as of_pod

NONE = Overhead(cpu_millis=0, memory_mib=0)


def container(cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}, **more}


def test_a_sandbox_without_a_limit_asks_for_no_memory() -> None:
    config = cri.PodSandboxConfig()
    for spelling in (-1, 8796093022207 << 20, (1 << 63) - 4096):
        config.linux.resources.memory_limit_in_bytes = spelling
        assert of_sandbox(config, NONE).memory_mib == of_sandbox(cri.PodSandboxConfig(), NONE).memory_mib


def test_containers_add_up() -> None:
    demand = of_pod({"containers": [container("100m", "64Mi"), container("200m", "32Mi")]}, NONE)
    assert (demand.cpu_millis, demand.memory_mib) == (300, 96)


def test_limits_count_where_there_are_no_requests() -> None:
    demand = of_pod({"containers": [{"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}]}, NONE)
    assert (demand.cpu_millis, demand.memory_mib) == (2000, 1024)


def test_requests_win_over_limits() -> None:
    resources = {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}
    assert of_pod({"containers": [{"resources": resources}]}, NONE).cpu_millis == 1000


def test_a_larger_init_container_decides() -> None:
    spec = {"containers": [container("100m", "64Mi")], "initContainers": [container("1", "32Mi")]}
    demand = of_pod(spec, NONE)
    assert (demand.cpu_millis, demand.memory_mib) == (1000, 64)


def test_sidecars_run_beside_containers_and_beside_the_init_containers_after_them() -> None:
    spec = {
        "containers": [container("100m", "10Mi")],
        "initContainers": [container("200m", "10Mi", restartPolicy="Always"), container("500m", "10Mi")],
    }
    assert of_pod(spec, NONE).cpu_millis == 700


def test_an_init_container_before_a_sidecar_runs_alone() -> None:
    spec = {
        "containers": [container("100m", "10Mi")],
        "initContainers": [container("250m", "10Mi"), container("200m", "10Mi", restartPolicy="Always")],
    }
    assert of_pod(spec, NONE).cpu_millis == 300


def test_the_pods_overhead_and_the_agents_are_added() -> None:
    spec = {"containers": [container("100m", "64Mi")], "overhead": {"cpu": "50m", "memory": "16Mi"}}
    demand = of_pod(spec, Overhead(cpu_millis=10, memory_mib=96))
    assert (demand.cpu_millis, demand.memory_mib) == (160, 176)


def test_resources_of_the_whole_pod_replace_the_sum() -> None:
    spec = {"containers": [container("100m", "64Mi")], "resources": {"requests": {"cpu": "3"}}}
    demand = of_pod(spec, NONE)
    assert (demand.cpu_millis, demand.memory_mib) == (3000, 64)


def test_gpus_are_counted_and_the_architecture_is_read_from_the_node_selector() -> None:
    spec = {
        "containers": [{"resources": {"limits": {"nvidia.com/gpu": 2}}}],
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
    }
    demand = of_pod(spec, NONE)
    assert (demand.gpus, demand.architectures) == (2, ("arm64",))


def test_a_sandbox_tells_its_pods_sums() -> None:
    config = cri.PodSandboxConfig()
    config.linux.resources.cpu_shares = 512
    config.linux.resources.memory_limit_in_bytes = 64 << 20
    config.linux.overhead.memory_limit_in_bytes = 1
    demand = of_sandbox(config, NONE)
    assert (demand.cpu_millis, demand.memory_mib) == (500, 65)
