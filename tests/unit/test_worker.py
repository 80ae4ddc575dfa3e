"""What `chinampa worker` writes and finds wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cellwire.faults import Fault
from controller.model.finding import Verdict
from controller.worker import capacity, checking, kubelet, units
from controller.worker.checking import Found
from controller.worker.settings import WorkerOptions
from controller.worker.units import UnitInputs

MEMINFO = "MemTotal:        3904 kB\nMemFree:         1 kB\nMemAvailable:    2 kB\nBuffers:         7 kB\n"
CPUINFO = "processor\t: 0\ncpu MHz\t\t: 2500.000\ncore id\t\t: 0\n\nprocessor\t: 1\ncore id\t\t: 1\n\n"
AROUND = UnitInputs(
    socket=Path("/run/chinampa/shim.sock"),
    kubeconfig=Path("/var/lib/kubelet/kubeconfig"),
    node="node-1",
    domain="cluster.local",
    base={},
    meminfo=MEMINFO,
    cpuinfo=CPUINFO,
)


@given(st.integers(1, 200), st.integers(1, 9000))
def test_a_kubelet_counts_the_cpus_and_the_memory_of_the_settings(cpu: int, memory: int) -> None:
    worker = WorkerOptions(cpu=cpu, memory_gib=memory)
    made = dict(capacity.tree(worker, MEMINFO, CPUINFO))
    cpus = [name.split("/") for name in made if name.startswith("node/") and name.endswith("/core_id")]
    assert len(cpus) == cpu
    assert len({made["/".join(one)] for one in cpus}) == cpu
    # Their numbers are written into a control group of this machine, which takes none that it has not.
    assert {name for _, _, name, *_ in cpus} <= {"cpu0", "cpu1"}
    assert {one for _, one, *_ in cpus} == {f"node{number}" for number in range((cpu + 1) // 2)}
    total = next(line for line in (made["meminfo"] or "").splitlines() if line.startswith("MemTotal"))
    assert total.split()[1] == str(memory << 20)
    assert "Buffers:         7 kB" in (made["meminfo"] or "")
    blocks = (made["cpuinfo"] or "").strip().split("\n\n")
    assert [block.splitlines()[0].split(": ")[1] for block in blocks] == [str(number) for number in range(cpu)]
    assert all("cpu MHz\t\t: 2500.000" in block for block in blocks)


def test_a_base_is_kept_but_for_what_a_worker_needs() -> None:
    base = {"authentication": {"anonymous": {"enabled": True}}, "maxPods": 110, "tlsCertFile": "/x"}
    said = kubelet.configuration(WorkerOptions(), Path("/s"), "cluster.local", base)
    assert (said["authentication"], said["maxPods"], said["tlsCertFile"]) == (base["authentication"], 500, "/x")
    assert "authorization" not in said
    alone = kubelet.configuration(WorkerOptions(), Path("/s"), "cluster.local", {})
    assert alone["authentication"]["anonymous"] == {"enabled": False}
    assert alone["authorization"] == {"mode": "Webhook"}


def test_a_kubelet_can_resize_pods_whatever_its_base_says() -> None:
    base = {"cgroupsPerQOS": False, "cgroupDriver": "systemd", "cgroupRoot": "/pods"}
    said = kubelet.configuration(WorkerOptions(), Path("/s"), "cluster.local", base)
    assert (said["cgroupsPerQOS"], said["cgroupDriver"], said["cgroupRoot"]) == (True, "cgroupfs", "/pods")


def test_taints_and_labels_are_as_the_settings_say() -> None:
    worker = WorkerOptions(taints=("a/b=c:NoSchedule", "d:NoExecute"), labels=("x=y",), eks=True)
    said = kubelet.configuration(worker, Path("/s"), "cluster.local", {})
    assert said["registerWithTaints"] == [
        {"key": "a/b", "value": "c", "effect": "NoSchedule"},
        {"key": "d", "effect": "NoExecute"},
    ]
    found = kubelet.labels(worker)
    assert found["x"] == "y"
    assert found["eks.amazonaws.com/compute-type"] == "fargate"
    assert found[kubelet.NOT_BALANCED] == "true"
    for bad in (WorkerOptions(taints=("a=b",)), WorkerOptions(taints=(":NoSchedule",))):
        with pytest.raises(Fault, match=r"worker\.taints"):
            kubelet.configuration(bad, Path("/s"), "cluster.local", {})
    with pytest.raises(Fault, match=r"worker\.labels"):
        kubelet.labels(WorkerOptions(labels=("x",)))


def test_the_units_start_the_kubelet_with_the_capacity_and_the_configuration() -> None:
    made = units.files(WorkerOptions(kubelet=Path("/opt/kube let")), AROUND)
    unit = made["/etc/systemd/system/chinampa-kubelet.service"].text or ""
    start = unit.split("ExecStart=")[1].splitlines()[0].split()[-1]
    assert made[start].program
    text = made[start].text or ""
    assert "--config=/etc/chinampa/kubelet.yaml" in text
    assert "'/opt/kube let'" in text
    assert yaml.safe_load(made["/etc/chinampa/kubelet.yaml"].text or "")["kind"] == "KubeletConfiguration"


NODE: dict[str, Any] = {
    "metadata": {"labels": kubelet.labels(WorkerOptions())},
    "status": {
        "capacity": {"cpu": "1000", "memory": f"{4000 << 20}Ki", "pods": "500"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
WELL = Found(
    kubelet_version="Kubernetes v1.33.1",
    programs={"unshare": "/usr/bin/unshare"},
    socket="/s",
    sandbox_runtime="chinampa 1",
    rights=dict.fromkeys(checking.RIGHTS, True),
    node=NODE,
)


@pytest.mark.parametrize("right", checking.RIGHTS)
def test_a_node_is_asked_for_no_more_than_it_may_see(right: tuple[str, str, str]) -> None:
    asked = checking.review("n", *right)["spec"]["resourceAttributes"]
    assert (asked["group"], asked["resource"], asked["verb"]) == right
    own = {"nodes": "metadata.name", "pods": "spec.nodeName"}.get(right[1])
    selector = {"requirements": [{"key": own, "operator": "In", "values": ["n"]}]} if own else None
    assert asked.get("fieldSelector") == selector
    # By which the node authorizer goes in a review; of a list it takes it out of the selector.
    assert asked.get("name") == ("n" if right[1] == "nodes" else None)


def lacking(found: Found, pods: str = "/var/lib/kubelet/pods") -> list[str]:
    return [
        each.thing for each in checking.findings(WorkerOptions(), pods, "n", found) if each.verdict is Verdict.LACKS
    ]


def test_a_worker_that_is_well_lacks_nothing() -> None:
    assert lacking(WELL) == []


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"kubelet_version": ""}, "kubelet"),
        ({"shared_root": False}, "mounts of /"),
        ({"differing": ("/etc/chinampa/kubelet.yaml",)}, "files"),
        ({"sandbox_runtime": ""}, "shim"),
        ({"refusal": "it cannot be reached"}, "API server"),
        ({"rights": {}}, "list endpointslices"),
        ({"rights": {}}, "watch nodes"),
        ({"node": None}, "node n"),
        ({"node": {**NODE, "status": {**NODE["status"], "capacity": {"cpu": "2"}}}}, "capacity: cpu"),
        ({"node": {**NODE, "metadata": {}}}, f"label {kubelet.NOT_BALANCED}"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], wanted: str) -> None:
    assert wanted in lacking(replace(WELL, **changes))


def test_another_pods_folder_than_the_kubelets_is_named() -> None:
    assert lacking(WELL, "/elsewhere/pods") == ["shim.pods_folder"]


def test_a_kubelet_starts_after_what_serves_it_here() -> None:
    for runtime in (units.CONTROLLER_UNIT, units.SHIM_UNIT):
        made = units.files(WorkerOptions(), replace(AROUND, runtime=runtime, agent=Path("/run/agent.sock")))
        assert f"{units.UNITS}/{runtime}.d/worker.conf" in made
        assert f"Wants={runtime} " in (made[f"{units.UNITS}/{units.KUBELET_UNIT}"].text or "")
        assert f"Before={runtime} " in (made[f"{units.UNITS}/{units.AGENT_UNIT}"].text or "")
        program = Path(__file__).resolve().parents[2] / "deploy/systemd" / runtime
        assert "ExecStart=/usr/local/bin/chinampa " in program.read_text()
