"""A pod's demand beside a clock that starts its containers one after another; and on specs that are none."""

from __future__ import annotations

from decimal import Decimal
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.choice.demand import Overhead, of_sandbox
from tests.support.typed_pods import demand_of as of_pod

NONE = Overhead(cpu_millis=0, memory_mib=0)
CPU = {"100m": "0.1", "0.25": "0.25", "1": "1", "1500m": "1.5"}
MEMORY = {"64Mi": str(64 * 2**20), "1Gi": str(2**30), "100M": str(10**8), "1": "1"}
DISK = {"1G": str(10**9), "500M": "500000000"}
EXACT = {"cpu": CPU, "memory": MEMORY, "ephemeral-storage": DISK}


def amounts(*names: str) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries({}, optional={name: st.sampled_from(sorted(EXACT[name])) for name in names})


@st.composite
def containers(draw: st.DrawFn, *, init: bool = False) -> dict[str, Any]:
    asked = amounts("cpu", "memory", "ephemeral-storage")
    made: dict[str, Any] = {"name": "c", "resources": {"requests": draw(asked), "limits": draw(asked)}}
    if init and draw(st.booleans()):
        made["restartPolicy"] = "Always"
    return made


PODS = st.fixed_dictionaries(
    {"containers": st.lists(containers(), min_size=1, max_size=3)},
    optional={"initContainers": st.lists(containers(init=True), max_size=4), "overhead": amounts("cpu", "memory")},
)


def asks(container: dict[str, Any], name: str) -> Decimal:
    """What one container asks for: its request, or else its limit."""
    resources = container["resources"]
    text = resources["requests"].get(name) or resources["limits"].get(name)
    return Decimal(EXACT[name][text]) if text else Decimal(0)


def highest(spec: dict[str, Any], name: str) -> Decimal:
    """The most that runs at once while a kubelet starts the pod, in order, and then runs it."""
    running, most = Decimal(0), Decimal(0)
    for init in spec.get("initContainers", []):
        most = max(most, running + asks(init, name))
        if init.get("restartPolicy") == "Always":
            running += asks(init, name)
    most = max(most, running + sum((asks(each, name) for each in spec["containers"]), Decimal(0)))
    overhead = spec.get("overhead", {}).get(name)
    return most + (Decimal(EXACT[name][overhead]) if overhead else 0)


@given(PODS)
def test_the_demand_is_the_most_that_ever_runs_at_once(spec: dict[str, Any]) -> None:
    demand = of_pod(spec, NONE)

    assert demand.cpu_millis == ceil(highest(spec, "cpu") * 1000)
    assert demand.memory_mib == ceil(highest(spec, "memory") / 2**20)
    assert demand.disk_gb == ceil(highest(spec, "ephemeral-storage") / 10**9)


@given(spec=PODS, cpu=st.integers(0, 500), memory=st.integers(0, 500))
def test_the_agents_overhead_is_on_top(spec: dict[str, Any], cpu: int, memory: int) -> None:
    bare, whole = of_pod(spec, NONE), of_pod(spec, Overhead(cpu_millis=cpu, memory_mib=memory))

    assert whole.cpu_millis - bare.cpu_millis == cpu
    assert whole.memory_mib - bare.memory_mib == memory


@given(spec=PODS, more=containers())
def test_one_more_container_never_lowers_the_demand(spec: dict[str, Any], more: dict[str, Any]) -> None:
    before, after = of_pod(spec), of_pod({**spec, "containers": [*spec["containers"], more]})

    assert after.cpu_millis >= before.cpu_millis
    assert after.memory_mib >= before.memory_mib
    assert after.disk_gb >= before.disk_gb


@pytest.mark.parametrize(
    ("whole", "container", "millis"),
    [
        ({"requests": {"cpu": "3"}}, {"requests": {"cpu": "1"}}, 3000),
        ({"requests": {"cpu": "3"}, "limits": {"cpu": "5"}}, {}, 3000),
        ({"limits": {"cpu": "5"}}, {"requests": {"cpu": "1"}}, 1000),
        ({"limits": {"cpu": "5"}}, {}, 5000),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"cpu": "2"}}, 2000),
    ],
)
def test_what_is_asked_for_the_whole_pod_counts_as_kubernetes_defaults_it(
    whole: dict[str, Any], container: dict[str, Any], millis: int
) -> None:
    spec = {"containers": [{"name": "c", "resources": container}], "resources": whole, "overhead": {"cpu": "100m"}}

    assert of_pod(spec, NONE).cpu_millis == millis + 100


def test_a_whole_pod_cannot_ask_for_gpus() -> None:
    with pytest.raises(Fault, match="for containers only"):
        of_pod({"containers": [], "resources": {"limits": {"nvidia.com/gpu": 1}}})


def limited(limits: dict[str, object]) -> dict[str, Any]:
    return {"containers": [{"name": "c", "resources": {"limits": limits}}]}


def test_a_gpu_of_one_maker_is_not_one_of_another() -> None:
    assert of_pod(limited({"amd.com/gpu": 2})).gpu_vendor == "amd"
    assert of_pod(limited({"nvidia.com/gpu": "1"})).gpu_vendor == "nvidia"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"nvidia.com/gpu": 1, "amd.com/gpu": 1}, "two makers"),
        ({"nvidia.com/gpu": "500m"}, "cannot be divided"),
        ({"example.com/fpga": 1}, "resource example.com/fpga in limits of container 'c'"),
        ({"hugepages-2Mi": "64Mi"}, "hugepages-2Mi"),
        ({"aws.amazon.com/neuron": 1}, "no cell has it"),
    ],
)
def test_what_no_instance_can_give_is_refused_by_name(limits: dict[str, object], said: str) -> None:
    with pytest.raises(Fault) as raised:
        of_pod(limited(limits))

    assert raised.value.kind is Kind.INVALID
    assert said in str(raised.value)


def test_none_of_what_no_instance_has_can_be_had() -> None:
    assert of_pod(limited({"example.com/fpga": 0})).gpus == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
RESOURCES = st.fixed_dictionaries({}, optional={"requests": JSON, "limits": JSON}) | JSON
CONTAINER = st.fixed_dictionaries({}, optional={"name": JSON, "resources": RESOURCES, "restartPolicy": JSON}) | JSON
KEYS = {
    "containers": st.lists(CONTAINER, max_size=2) | JSON,
    "initContainers": st.lists(CONTAINER, max_size=2) | JSON,
    "resources": RESOURCES,
    "overhead": JSON,
    "nodeSelector": JSON,
}


@given(st.fixed_dictionaries({}, optional=KEYS) | JSON)
def test_a_spec_that_is_none_is_a_fault_and_never_a_crash(spec: Any) -> None:
    try:
        demand = of_pod(spec)
    except Fault as fault:
        assert fault.kind is Kind.INVALID
    else:
        assert demand.cpu_millis >= 0
        assert demand.memory_mib >= 96


@given(shares=st.integers(0, 2**20), limit=st.integers(-1, 2**50))
def test_a_kubelets_words_make_a_demand_that_is_never_too_small(shares: int, limit: int) -> None:
    config = cri.PodSandboxConfig()
    config.linux.resources.cpu_shares = shares
    config.linux.resources.memory_limit_in_bytes = limit
    demand = of_sandbox(config, NONE)

    assert demand.cpu_millis * 1024 >= shares * 1000 or shares <= 2
    assert demand.memory_mib * 2**20 >= limit


def test_annotations_say_what_a_kubelet_does_not() -> None:
    config = cri.PodSandboxConfig(annotations={"chinampa.dev/memory": "2Gi", "chinampa.dev/gpus": "1"})
    config.linux.resources.memory_limit_in_bytes = 2**20
    demand = of_sandbox(config, Overhead(cpu_millis=0, memory_mib=96))

    assert (demand.memory_mib, demand.gpus) == (2048 + 96, 1)


@pytest.mark.parametrize("wrong", [{"memory": "lots"}, {"gpus": "0"}, {"gpus": "-1"}, {"gpus": "1.5"}])
def test_an_annotation_that_says_no_amount_is_refused(wrong: dict[str, str]) -> None:
    config = cri.PodSandboxConfig(annotations={f"chinampa.dev/{key}": value for key, value in wrong.items()})
    with pytest.raises(Fault, match=f"chinampa.dev/{next(iter(wrong))}"):
        of_sandbox(config)
