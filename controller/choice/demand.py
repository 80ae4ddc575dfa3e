"""What a pod needs of an instance, by Kubernetes' own rule. Pure.

A container asks for its requests, or its limits where it has no requests. Containers and sidecars (init containers
that are restarted always) run together and add up; each other init container runs alone beside the sidecars started
before it; the pod needs the largest of these, and its overhead, and what the agent itself takes. What is asked for the
whole pod counts instead of the sum. A resource that no instance can give is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from math import ceil
from typing import Any, cast

import msgspec

from cellwire.cri.unlimited import settled
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.choice import requirements
from controller.choice.quantity import quantity
from controller.model.offer import Demand

# Extended resource → who makes it, as in the catalogue.
GPU_VENDORS = {"nvidia.com/gpu": "nvidia", "amd.com/gpu": "amd", "habana.ai/gaudi": "habana"}
# Only these can be asked for the whole pod (Kubernetes, "Pod-level resource specification").
OF_WHOLE_PODS = ("cpu", "memory")
KNOWN = frozenset({"cpu", "memory", "ephemeral-storage", *GPU_VENDORS})
ARCHITECTURE_LABEL = "kubernetes.io/arch"

Asked = Mapping[str, Decimal]


class Overhead(msgspec.Struct, frozen=True, kw_only=True):
    """Overhead of the cell itself: CPU in thousandths, memory in MiB."""

    cpu_millis: int = 0
    memory_mib: int = 96


DEFAULT_OVERHEAD = Overhead()


def cdi_devices(vendor: str) -> tuple[str, ...]:
    """What a container asks its cell for, by the Container Device Interface, to have all GPUs of this maker; NVIDIA's
    where none is named.
    """
    resource = next((name for name, its in GPU_VENDORS.items() if its == vendor), next(iter(GPU_VENDORS)))
    return (f"{resource}=all",)


def of_pod(spec: Mapping[str, Any], overhead: Overhead = DEFAULT_OVERHEAD) -> Demand:
    """The demand of a pod's spec, as decoded from its manifest. Raises Fault INVALID for what is no such spec."""
    spec = _mapping(spec, "spec")
    need = _of_containers(spec, _container)
    need = _of_whole_pod(_mapping(spec.get("resources") or {}, "spec.resources"), need)
    need = _sum([need, _quantities(spec.get("overhead"), "spec.overhead")])
    architecture = _mapping(spec.get("nodeSelector") or {}, "spec.nodeSelector").get(ARCHITECTURE_LABEL)
    return _demand(need, overhead, (str(architecture),) if architecture else ())


def total(spec: Mapping[str, Any], part: str) -> dict[str, Decimal]:
    """What a pod's containers need together by their `requests` or `limits` alone. Raises Fault INVALID."""

    def said(container: Mapping[str, Any]) -> dict[str, Decimal]:
        return _quantities((container.get("resources") or {}).get(part), f"{part} of a container")

    of_pod = _quantities((spec.get("resources") or {}).get(part), f"{part} of the pod")
    return {**_of_containers(spec, said), **of_pod}


def _of_containers(spec: Mapping[str, Any], of: Callable[[Mapping[str, Any]], Asked]) -> dict[str, Decimal]:
    together = _sum(of(one) for one in _list(spec, "containers"))
    peak, sidecars = dict[str, Decimal](), dict[str, Decimal]()
    for init in _list(spec, "initContainers"):
        need = _sum([sidecars, of(init)])
        peak = _largest(peak, need)
        if init.get("restartPolicy") == "Always":
            sidecars = need
    return _largest(_sum([together, sidecars]), peak)


def of_sandbox(config: cri.PodSandboxConfig, overhead: Overhead = DEFAULT_OVERHEAD) -> Demand:
    """The demand that a kubelet tells with a sandbox: the sums of its containers, and the pod's overhead.

    CRI gives CPU requests as shares (1024 a CPU) and memory only as limit; of GPUs it says nothing. Annotations fill in
    what it leaves out. Raises Fault INVALID for one that cannot be read.
    """
    need = _sum([_linux(config.linux.resources), _linux(config.linux.overhead)])
    told = requirements.of_demand(config.annotations)
    need = _largest(need, {"memory": Decimal(told.memory_mib * 2**20)})
    demand = _demand(need, overhead, ())
    return msgspec.structs.replace(demand, gpus=told.gpus) if told.gpus else demand


def _demand(need: Asked, overhead: Overhead, architectures: tuple[str, ...]) -> Demand:
    gpus = {name: count for name in GPU_VENDORS if (count := need.get(name, Decimal(0)))}
    if len(gpus) > 1:
        raise Fault(Kind.INVALID, f"resources {', '.join(gpus)}", "no instance has GPUs of two makers", "ask for one")
    for name, count in gpus.items():
        if count != int(count):
            raise Fault(Kind.INVALID, f"resource {name}: {count}", "a GPU cannot be divided", "ask for whole ones")
    (vendor, count), *_ = [(GPU_VENDORS[name], count) for name, count in gpus.items()] or [("", Decimal(0))]
    return Demand(
        cpu_millis=ceil(need.get("cpu", Decimal(0)) * 1000) + overhead.cpu_millis,
        memory_mib=ceil(need.get("memory", Decimal(0)) / 2**20) + overhead.memory_mib,
        gpus=int(count),
        gpu_vendor=vendor,
        disk_gb=ceil(need.get("ephemeral-storage", Decimal(0)) / 10**9),
        architectures=architectures,
    )


def _sum(needs: Iterable[Asked]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for need in needs:
        for name, amount in need.items():
            total[name] = total.get(name, Decimal(0)) + amount
    return total


def _largest(one: Asked, other: Asked) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in {*one, *other}}


def _container(container: Mapping[str, Any]) -> dict[str, Decimal]:
    name = f"container {container.get('name', '')!r}"
    resources = _mapping(container.get("resources") or {}, f"resources of {name}")
    limits = _quantities(resources.get("limits"), f"limits of {name}")
    return {**limits, **_quantities(resources.get("requests"), f"requests of {name}")}


def _of_whole_pod(resources: Mapping[str, Any], containers: Asked) -> dict[str, Decimal]:
    """Requests of the pod win over its containers' sum, which wins over limits of the pod."""
    requests = _quantities(resources.get("requests"), "requests of the pod")
    limits = _quantities(resources.get("limits"), "limits of the pod")
    for name in {*requests, *limits} - set(OF_WHOLE_PODS):
        raise Fault(Kind.INVALID, f"resource {name} of the pod", "it can be asked for containers only")
    return {**limits, **containers, **requests}


def _quantities(amounts: object, where: str) -> dict[str, Decimal]:
    found = {str(name): quantity(amount) for name, amount in _mapping(amounts or {}, where).items()}
    for name, amount in found.items():
        if amount and name not in KNOWN:
            known = ", ".join(sorted(KNOWN))
            raise Fault(Kind.INVALID, f"resource {name} in {where}", "no cell has it", f"cells have {known}")
    return {name: amount for name, amount in found.items() if name in KNOWN}


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Fault(Kind.INVALID, where, "it is no mapping of names to values")
    return cast("Mapping[str, Any]", value)


def _list(spec: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = spec.get(key) or []
    if not isinstance(value, list):
        raise Fault(Kind.INVALID, f"spec.{key}", "it is no list")
    return [_mapping(each, f"spec.{key}") for each in cast("list[object]", value)]


def _linux(resources: cri.LinuxContainerResources) -> dict[str, Decimal]:
    # A kubelet writes 2 shares for "no request at all".
    cpu = Decimal(-(-resources.cpu_shares * 1000 // 1024)) / 1000 if resources.cpu_shares > 2 else Decimal(0)
    return {"cpu": cpu, "memory": Decimal(max(settled(resources).memory_limit_in_bytes, 0))}
