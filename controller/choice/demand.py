"""What a pod needs of an instance, by Kubernetes' own rule. Pure.

A container asks for its requests, or its limits where it has no requests. Containers and sidecars (init containers
that are restarted always) run together and add up; each other init container runs alone beside the sidecars started
before it; the pod needs the larger of the two, and its overhead, and what the agent itself takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.choice.quantity import gigabytes, mebibytes, millis
from controller.model.offer import Demand

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "aws.amazon.com/neuron")
ARCHITECTURE_LABEL = "kubernetes.io/arch"


class Overhead(msgspec.Struct, frozen=True, kw_only=True):
    """What the cell itself takes: CPU in thousandths, memory in MiB."""

    cpu_millis: int = 0
    memory_mib: int = 96


DEFAULT_OVERHEAD = Overhead()


class _Need(msgspec.Struct, frozen=True):
    cpu: int = 0
    memory: int = 0
    gpus: int = 0
    disk: int = 0

    def plus(self, other: _Need) -> _Need:
        return _Need(self.cpu + other.cpu, self.memory + other.memory, self.gpus + other.gpus, self.disk + other.disk)

    def or_more(self, other: _Need) -> _Need:
        return _Need(
            max(self.cpu, other.cpu),
            max(self.memory, other.memory),
            max(self.gpus, other.gpus),
            max(self.disk, other.disk),
        )


def of_pod(spec: Mapping[str, Any], overhead: Overhead = DEFAULT_OVERHEAD) -> Demand:
    """The demand of a pod's spec, as decoded from its manifest. Raises Fault INVALID for a bad quantity."""
    together = _total(_container(one) for one in spec.get("containers") or ())
    peak, sidecars = _Need(), _Need()
    for init in spec.get("initContainers") or ():
        need = _container(init)
        if init.get("restartPolicy") == "Always":
            sidecars = sidecars.plus(need)
            peak = peak.or_more(sidecars)
        else:
            peak = peak.or_more(sidecars.plus(need))
    need = together.plus(sidecars).or_more(peak)
    if spec.get("resources"):
        need = _resources(spec["resources"], need)
    need = need.plus(_resources({"requests": spec.get("overhead") or {}}, _Need()))
    architecture = (spec.get("nodeSelector") or {}).get(ARCHITECTURE_LABEL)
    return _demand(need, overhead, (architecture,) if architecture else ())


def of_sandbox(config: cri.PodSandboxConfig, overhead: Overhead = DEFAULT_OVERHEAD) -> Demand:
    """The demand that a kubelet tells with a sandbox: the sums of its containers, and the pod's overhead.

    CRI gives CPU requests as shares (1024 a CPU) and limits as quota over period, memory only as limit.
    """
    need = _linux(config.linux.resources).plus(_linux(config.linux.overhead))
    return _demand(need, overhead, ())


def _demand(need: _Need, overhead: Overhead, architectures: tuple[str, ...]) -> Demand:
    return Demand(
        cpu_millis=need.cpu + overhead.cpu_millis,
        memory_mib=need.memory + overhead.memory_mib,
        gpus=need.gpus,
        disk_gb=need.disk,
        architectures=architectures,
    )


def _total(needs: Iterable[_Need]) -> _Need:
    total = _Need()
    for need in needs:
        total = total.plus(need)
    return total


def _container(container: Mapping[str, Any]) -> _Need:
    return _resources(container.get("resources") or {}, _Need())


def _resources(resources: Mapping[str, Any], default: _Need) -> _Need:
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return _Need(
        millis(asked["cpu"]) if "cpu" in asked else default.cpu,
        mebibytes(asked["memory"]) if "memory" in asked else default.memory,
        sum(millis(asked[name]) // 1000 for name in GPU_RESOURCES if name in asked) or default.gpus,
        gigabytes(asked["ephemeral-storage"]) if "ephemeral-storage" in asked else default.disk,
    )


def _linux(resources: cri.LinuxContainerResources) -> _Need:
    # A kubelet writes 2 shares for "no request at all".
    cpu = -(-resources.cpu_shares * 1000 // 1024) if resources.cpu_shares > 2 else 0
    return _Need(cpu, -(-resources.memory_limit_in_bytes // 2**20))
