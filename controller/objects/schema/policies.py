"""Kinds of policy/v1, discovery.k8s.io/v1, autoscaling/v1 and scheduling.k8s.io/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import IntOrString, Part, Time, Wire
from controller.objects.schema.meta import Condition, DeleteOptions, LabelSelector, ObjectMeta
from controller.objects.schema.references import ObjectReference


class PodDisruptionBudget(Part, frozen=True, kw_only=True):
    """A pod disruption budget: how many of these pods may be away at a time."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PodDisruptionBudgetSpec | None, Wire(2)] = None
    status: Annotated[PodDisruptionBudgetStatus | None, Wire(3)] = None


class PodDisruptionBudgetSpec(Part, frozen=True, kw_only=True):
    minAvailable: Annotated[IntOrString | None, Wire(1)] = None
    selector: Annotated[LabelSelector | None, Wire(2)] = None
    maxUnavailable: Annotated[IntOrString | None, Wire(3)] = None
    unhealthyPodEvictionPolicy: Annotated[str, Wire(4)] = ""


class PodDisruptionBudgetStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int, Wire(1)] = 0
    disruptedPods: Annotated[dict[str, Time], Wire(2)] = {}
    disruptionsAllowed: Annotated[int, Wire(3)] = 0
    currentHealthy: Annotated[int, Wire(4)] = 0
    desiredHealthy: Annotated[int, Wire(5)] = 0
    expectedPods: Annotated[int, Wire(6)] = 0
    conditions: Annotated[tuple[Condition, ...], Wire(7, keys=("type",))] = ()


class Eviction(Part, frozen=True, kw_only=True):
    """An eviction: asks for a pod to be deleted, as draining does."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    deleteOptions: Annotated[DeleteOptions | None, Wire(2)] = None


class EndpointSlice(Part, frozen=True, kw_only=True):
    """An endpoint slice: a part of the addresses behind a service."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    addressType: Annotated[str, Wire(4, required=True)] = ""
    endpoints: Annotated[tuple[Endpoint, ...], Wire(2)] = ()
    ports: Annotated[tuple[EndpointSlicePort, ...], Wire(3)] = ()


class Endpoint(Part, frozen=True, kw_only=True):
    addresses: Annotated[tuple[str, ...], Wire(1, is_set=True, required=True)] = ()
    conditions: Annotated[EndpointConditions | None, Wire(2)] = None
    hostname: Annotated[str, Wire(3)] = ""
    targetRef: Annotated[ObjectReference | None, Wire(4)] = None
    deprecatedTopology: Annotated[dict[str, str], Wire(5)] = {}
    nodeName: Annotated[str, Wire(6)] = ""
    zone: Annotated[str, Wire(7)] = ""
    hints: Annotated[EndpointHints | None, Wire(8)] = None


class EndpointConditions(Part, frozen=True, kw_only=True):
    ready: Annotated[bool | None, Wire(1, zero_counts=True)] = None
    serving: Annotated[bool | None, Wire(2, zero_counts=True)] = None
    terminating: Annotated[bool | None, Wire(3, zero_counts=True)] = None


class EndpointHints(Part, frozen=True, kw_only=True):
    forZones: Annotated[tuple[ForZone, ...], Wire(1)] = ()
    forNodes: Annotated[tuple[ForNode, ...], Wire(2)] = ()


class ForZone(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""


class ForNode(Part, frozen=True, kw_only=True):
    name: Annotated[str, Wire(1, required=True)] = ""


class EndpointSlicePort(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, zero_counts=True)] = None
    protocol: Annotated[str | None, Wire(2, zero_counts=True)] = None
    port: Annotated[int | None, Wire(3, zero_counts=True)] = None
    appProtocol: Annotated[str, Wire(4)] = ""


class Scale(Part, frozen=True, kw_only=True):
    """A scale: how many replicas there are and are to be."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ScaleSpec | None, Wire(2)] = None
    status: Annotated[ScaleStatus | None, Wire(3)] = None


class ScaleSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int, Wire(1)] = 0


class ScaleStatus(Part, frozen=True, kw_only=True):
    replicas: Annotated[int, Wire(1, required=True)] = 0
    selector: Annotated[str, Wire(2)] = ""


class PriorityClass(Part, frozen=True, kw_only=True):
    """A priority class: a number under a name."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    value: Annotated[int | None, Wire(2, zero_counts=True)] = None
    globalDefault: Annotated[bool, Wire(3)] = False
    description: Annotated[str, Wire(4)] = ""
    preemptionPolicy: Annotated[str, Wire(5)] = ""
