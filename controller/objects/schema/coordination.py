"""Kinds of coordination.k8s.io/v1 and autoscaling/v2."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Loose, Part, Time, Wire
from controller.objects.schema.meta import Condition, ObjectMeta


class Lease(Part, frozen=True, kw_only=True):
    """A lease: who of several is the leader."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[LeaseSpec | None, Wire(2)] = None


class LeaseSpec(Part, frozen=True, kw_only=True):
    holderIdentity: Annotated[str | None, Wire(1)] = None
    leaseDurationSeconds: Annotated[int | None, Wire(2, zero_counts=True)] = None
    acquireTime: Annotated[Time | None, Wire(3)] = None
    renewTime: Annotated[Time | None, Wire(4)] = None
    leaseTransitions: Annotated[int | None, Wire(5, zero_counts=True)] = None
    strategy: Annotated[str | None, Wire(6)] = None
    preferredHolder: Annotated[str | None, Wire(7)] = None


class HorizontalPodAutoscaler(Part, frozen=True, kw_only=True):
    """A horizontal pod autoscaler: how many replicas there are to be, by what they use."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[HorizontalPodAutoscalerSpec | None, Wire(2)] = None
    status: Annotated[HorizontalPodAutoscalerStatus | None, Wire(3)] = None


class HorizontalPodAutoscalerSpec(Part, frozen=True, kw_only=True):
    scaleTargetRef: Annotated[CrossVersionObjectReference | None, Wire(1, required=True)] = None
    minReplicas: Annotated[int | None, Wire(2, zero_counts=True)] = None
    maxReplicas: Annotated[int | None, Wire(3, required=True)] = None
    metrics: Annotated[list[Loose] | None, Wire(4, atomic=True)] = None
    behavior: Annotated[Loose | None, Wire(5)] = None


class CrossVersionObjectReference(Part, frozen=True, kw_only=True):
    kind: Annotated[str | None, Wire(1, required=True)] = None
    name: Annotated[str | None, Wire(2, required=True)] = None
    apiVersion: Annotated[str | None, Wire(3)] = None


class HorizontalPodAutoscalerStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int | None, Wire(1)] = None
    lastScaleTime: Annotated[Time | None, Wire(2)] = None
    currentReplicas: Annotated[int | None, Wire(3)] = None
    desiredReplicas: Annotated[int | None, Wire(4)] = None
    currentMetrics: Annotated[list[Loose] | None, Wire(5, atomic=True)] = None
    conditions: Annotated[list[Condition] | None, Wire(6, keys=("type",))] = None
