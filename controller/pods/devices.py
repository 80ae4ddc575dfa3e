"""Devices of a pod's containers. Pure.

GPUs are asked for as resources; which of the cell's each container gets is decided here, as a kubelet's device manager
does it: containers that run at one time share none. Other devices of the cell (/dev/fuse, /dev/kvm) come by annotation:
the cell is the pod's alone, so there is nobody to take them from.
"""

from __future__ import annotations

from controller.choice import requirements
from controller.choice.demand import GPU_VENDORS
from controller.objects.schema.base import Quantity
from controller.objects.schema.containers import Container
from controller.objects.schema.pods import PodSpec


def gpus(spec: PodSpec, name: str) -> tuple[str, ...]:
    """The GPUs of a container, by their names in the Container Device Interface."""
    taken = 0
    for one in spec.initContainers:
        if one.name == name:
            return _named(one, taken)
        if one.restartPolicy == "Always":
            taken += _count(one)
    for one in spec.containers:
        if one.name == name:
            return _named(one, taken)
        taken += _count(one)
    return ()


def _named(container: Container, first: int) -> tuple[str, ...]:
    return tuple(f"{_resource(container)}={index}" for index in range(first, first + _count(container)))


def _limits(container: Container) -> dict[str, Quantity]:
    return container.resources.limits


def _resource(container: Container) -> str:
    return next((resource for resource in _limits(container) if resource in GPU_VENDORS), "")


def _count(container: Container) -> int:
    return int(_limits(container).get(_resource(container), 0))


def others(annotations: dict[str, str]) -> tuple[str, ...]:
    """The devices that each container of the pod gets beside."""
    return requirements.devices(annotations.get(f"{requirements.PREFIX}devices", ""))
