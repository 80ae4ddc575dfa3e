"""Kinds of policy/v1, discovery.k8s.io/v1, autoscaling/v1 and scheduling.k8s.io/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import IntOrString, Part, Time, Wire
from controller.objects.schema.meta import Condition, DeleteOptions, LabelSelector, ObjectMeta
from controller.objects.schema.references import ObjectReference


class PodDisruptionBudget(Part, frozen=True, kw_only=True):
    """A pod disruption budget: how many of these pods may be away at a time."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PodDisruptionBudgetSpec | None, Wire(2)] = None
    status: Annotated[PodDisruptionBudgetStatus | None, Wire(3)] = None


class PodDisruptionBudgetSpec(Part, frozen=True, kw_only=True):
    minAvailable: Annotated[IntOrString | None, Wire(1)] = None
    selector: Annotated[LabelSelector | None, Wire(2)] = None
    maxUnavailable: Annotated[IntOrString | None, Wire(3)] = None
    unhealthyPodEvictionPolicy: Annotated[str | None, Wire(4)] = None


class PodDisruptionBudgetStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int | None, Wire(1)] = None
    disruptedPods: Annotated[dict[str, Time] | None, Wire(2)] = None
    disruptionsAllowed: Annotated[int | None, Wire(3)] = None
    currentHealthy: Annotated[int | None, Wire(4)] = None
    desiredHealthy: Annotated[int | None, Wire(5)] = None
    expectedPods: Annotated[int | None, Wire(6)] = None
    conditions: Annotated[list[Condition] | None, Wire(7, keys=("type",))] = None


class Eviction(Part, frozen=True, kw_only=True):
    """An eviction: asks for a pod to be deleted, as draining does."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    deleteOptions: Annotated[DeleteOptions | None, Wire(2)] = None


class EndpointSlice(Part, frozen=True, kw_only=True):
    """An endpoint slice: a part of the addresses behind a service."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    addressType: Annotated[str | None, Wire(4, required=True)] = None
    endpoints: Annotated[list[Endpoint] | None, Wire(2)] = None
    ports: Annotated[list[EndpointSlicePort] | None, Wire(3)] = None


class Endpoint(Part, frozen=True, kw_only=True):
    addresses: Annotated[list[str] | None, Wire(1, is_set=True, required=True)] = None
    conditions: Annotated[EndpointConditions | None, Wire(2)] = None
    hostname: Annotated[str | None, Wire(3)] = None
    targetRef: Annotated[ObjectReference | None, Wire(4)] = None
    deprecatedTopology: Annotated[dict[str, str] | None, Wire(5)] = None
    nodeName: Annotated[str | None, Wire(6)] = None
    zone: Annotated[str | None, Wire(7)] = None
    hints: Annotated[EndpointHints | None, Wire(8)] = None


class EndpointConditions(Part, frozen=True, kw_only=True):
    ready: Annotated[bool | None, Wire(1, zero_counts=True)] = None
    serving: Annotated[bool | None, Wire(2, zero_counts=True)] = None
    terminating: Annotated[bool | None, Wire(3, zero_counts=True)] = None


class EndpointHints(Part, frozen=True, kw_only=True):
    forZones: Annotated[list[ForZone] | None, Wire(1)] = None
    forNodes: Annotated[list[ForNode] | None, Wire(2)] = None


class ForZone(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None


class ForNode(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, required=True)] = None


class EndpointSlicePort(Part, frozen=True, kw_only=True):
    name: Annotated[str | None, Wire(1, zero_counts=True)] = None
    protocol: Annotated[str | None, Wire(2, zero_counts=True)] = None
    port: Annotated[int | None, Wire(3, zero_counts=True)] = None
    appProtocol: Annotated[str | None, Wire(4)] = None


class Scale(Part, frozen=True, kw_only=True):
    """A scale: how many replicas there are and are to be."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ScaleSpec | None, Wire(2)] = None
    status: Annotated[ScaleStatus | None, Wire(3)] = None


class ScaleSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1)] = None


class ScaleStatus(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, required=True)] = None
    selector: Annotated[str | None, Wire(2)] = None


class PriorityClass(Part, frozen=True, kw_only=True):
    """A priority class: a number under a name."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    value: Annotated[int | None, Wire(2, zero_counts=True)] = None
    globalDefault: Annotated[bool | None, Wire(3)] = None
    description: Annotated[str | None, Wire(4)] = None
    preemptionPolicy: Annotated[str | None, Wire(5)] = None
