"""The demand of a pod: what it needs of an instance, by Kubernetes' own rule. Pure.

A container asks for its requests, or its limits where it has no requests. Containers and sidecars (init containers
that are restarted always) run together and add up; each other init container runs alone beside the sidecars started
before it; the pod needs the largest of these, and its overhead, and what the agent itself takes. What is asked for the
whole pod counts instead of the sum. A resource that no instance can give is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from cellwire.faults import Fault, Kind
from controller.choice.demand import DEFAULT_OVERHEAD, KNOWN, Asked, Overhead, added, largest, of_need
from controller.choice.quantity import quantity
from controller.model.offer import Demand
from controller.objects.schema.base import Quantity
from controller.objects.schema.containers import Container
from controller.objects.schema.pods import PodSpec
from controller.objects.schema.references import ResourceRequirements
from controller.objects.shapes import decoded

# Only these can be asked for the whole pod (Kubernetes, "Pod-level resource specification").
OF_WHOLE_PODS = ("cpu", "memory")
ARCHITECTURE_LABEL = "kubernetes.io/arch"


def spec_of(written: object) -> PodSpec:
    """A pod's specification, decoded from its manifest. Raises Fault INVALID."""
    if not isinstance(written, dict):
        raise Fault(Kind.INVALID, "spec", "it is no mapping of names to values")
    try:
        return decoded(written, PodSpec)
    except msgspec.ValidationError as error:
        raise Fault(Kind.INVALID, "spec", f"it cannot be read: {error}") from error


def of_pod(spec: PodSpec, overhead: Overhead = DEFAULT_OVERHEAD) -> Demand:
    """The demand of a pod. Raises Fault INVALID for resources that no instance has."""
    need = _of_containers(spec, _container)
    need = _of_whole_pod(spec.resources or ResourceRequirements(), need)
    need = added([need, _quantities(spec.overhead, "spec.overhead")])
    architecture = spec.nodeSelector.get(ARCHITECTURE_LABEL)
    return of_need(need, overhead, (architecture,) if architecture else ())


def total(spec: PodSpec, of: Callable[[ResourceRequirements], Mapping[str, Quantity]]) -> dict[str, Decimal]:
    """What a pod's containers need together by their requests or their limits alone. Raises Fault INVALID."""
    containers = _of_containers(spec, lambda one: _quantities(of(one.resources), f"container {one.name!r}"))
    return {**containers, **_quantities(of(spec.resources or ResourceRequirements()), "the pod")}


def requests(resources: ResourceRequirements) -> Mapping[str, Quantity]:
    """The requests among resources."""
    return resources.requests


def limits(resources: ResourceRequirements) -> Mapping[str, Quantity]:
    """The limits among resources."""
    return resources.limits


def _of_containers(spec: PodSpec, of: Callable[[Container], Asked]) -> dict[str, Decimal]:
    together = added(map(of, spec.containers))
    peak, sidecars = dict[str, Decimal](), dict[str, Decimal]()
    for init in spec.initContainers:
        need = added([sidecars, of(init)])
        peak = largest(peak, need)
        if init.restartPolicy == "Always":
            sidecars = need
    return largest(added([together, sidecars]), peak)


def _container(container: Container) -> dict[str, Decimal]:
    of, name = container.resources, f"container {container.name!r}"
    return {**_quantities(of.limits, f"limits of {name}"), **_quantities(of.requests, f"requests of {name}")}


def _of_whole_pod(resources: ResourceRequirements, containers: Asked) -> dict[str, Decimal]:
    """Requests of the pod win over its containers' sum, which wins over limits of the pod."""
    asked = _quantities(resources.requests, "requests of the pod")
    bound = _quantities(resources.limits, "limits of the pod")
    for name in {*asked, *bound} - set(OF_WHOLE_PODS):
        raise Fault(Kind.INVALID, f"resource {name} of the pod", "it can be asked for containers only")
    return {**bound, **containers, **asked}


def _quantities(amounts: Mapping[str, Quantity], where: str) -> dict[str, Decimal]:
    found = {name: quantity(amount) for name, amount in amounts.items()}
    for name, amount in found.items():
        if amount and name not in KNOWN:
            known = ", ".join(sorted(KNOWN))
            raise Fault(Kind.INVALID, f"resource {name} in {where}", "no cell has it", f"cells have {known}")
    return {name: amount for name, amount in found.items() if name in KNOWN}
