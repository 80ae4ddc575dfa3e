"""A demand: amounts of resources as what they make of an instance, and what CRI tells of a sandbox's. Pure.

What a pod's own specification asks for is in `controller.objects.pod_demand`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import ceil

import msgspec

from cellwire.cri.unlimited import settled
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.choice import requirements
from controller.model.offer import Demand

# Extended resource → who makes it, as in the catalogue.
GPU_VENDORS = {"nvidia.com/gpu": "nvidia", "amd.com/gpu": "amd", "habana.ai/gaudi": "habana"}
KNOWN = frozenset({"cpu", "memory", "ephemeral-storage", *GPU_VENDORS})

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


def of_sandbox(config: cri.PodSandboxConfig, overhead: Overhead = DEFAULT_OVERHEAD) -> Demand:
    """The demand that a kubelet tells with a sandbox: the sums of its containers, and the pod's overhead.

    CRI gives CPU requests as shares (1024 a CPU) and memory only as limit; of GPUs it says nothing. Annotations fill in
    what it leaves out. Raises Fault INVALID for one that cannot be read.
    """
    need = added([_linux(config.linux.resources), _linux(config.linux.overhead)])
    told = requirements.of_demand(config.annotations)
    need = largest(need, {"memory": Decimal(told.memory_mib * 2**20)})
    demand = of_need(need, overhead, ())
    return msgspec.structs.replace(demand, gpus=told.gpus) if told.gpus else demand


def of_need(need: Asked, overhead: Overhead, architectures: tuple[str, ...]) -> Demand:
    """The demand of these amounts and of the agent's overhead. Raises Fault INVALID for GPUs that no instance has."""
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


def added(needs: Iterable[Asked]) -> dict[str, Decimal]:
    """The sum of amounts, by resource."""
    total: dict[str, Decimal] = {}
    for need in needs:
        for name, amount in need.items():
            total[name] = total.get(name, Decimal(0)) + amount
    return total


def largest(one: Asked, other: Asked) -> dict[str, Decimal]:
    """The larger of two amounts, by resource."""
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in {*one, *other}}


def _linux(resources: cri.LinuxContainerResources) -> dict[str, Decimal]:
    # A kubelet writes 2 shares for "no request at all".
    cpu = Decimal(-(-resources.cpu_shares * 1000 // 1024)) / 1000 if resources.cpu_shares > 2 else Decimal(0)
    return {"cpu": cpu, "memory": Decimal(max(settled(resources).memory_limit_in_bytes, 0))}
