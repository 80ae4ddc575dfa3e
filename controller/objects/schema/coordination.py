"""Kinds of coordination.k8s.io/v1, autoscaling/v2 and autoscaling/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Loose, Part, Time, Wire
from controller.objects.schema.meta import Condition, ObjectMeta


class Lease(Part, frozen=True, kw_only=True):
    """A lease: who of several is the leader."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[LeaseSpec | None, Wire(2)] = None


class LeaseSpec(Part, frozen=True, kw_only=True):
    holderIdentity: Annotated[str, Wire(1)] = ""
    leaseDurationSeconds: Annotated[int | None, Wire(2, zero_counts=True)] = None
    acquireTime: Annotated[Time | None, Wire(3)] = None
    renewTime: Annotated[Time | None, Wire(4)] = None
    leaseTransitions: Annotated[int | None, Wire(5, zero_counts=True)] = None
    strategy: Annotated[str, Wire(6)] = ""
    preferredHolder: Annotated[str, Wire(7)] = ""


class HorizontalPodAutoscaler(Part, frozen=True, kw_only=True):
    """A horizontal pod autoscaler: how many replicas there are to be, by what they use."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[HorizontalPodAutoscalerSpec | None, Wire(2)] = None
    status: Annotated[HorizontalPodAutoscalerStatus | None, Wire(3)] = None


class HorizontalPodAutoscalerSpec(Part, frozen=True, kw_only=True):
    scaleTargetRef: Annotated[CrossVersionObjectReference | None, Wire(1, required=True)] = None
    minReplicas: Annotated[int | None, Wire(2, zero_counts=True)] = None
    maxReplicas: Annotated[int, Wire(3, required=True)] = 0
    metrics: Annotated[tuple[Loose, ...], Wire(4, atomic=True)] = ()
    behavior: Annotated[Loose | None, Wire(5)] = None


class ProcessorAutoscaler(Part, frozen=True, kw_only=True):
    """A horizontal pod autoscaler of version 1: how many replicas there are to be, by their use of processors."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ProcessorAutoscalerSpec | None, Wire(2)] = None
    status: Annotated[ProcessorAutoscalerStatus | None, Wire(3)] = None


class ProcessorAutoscalerSpec(Part, frozen=True, kw_only=True):
    scaleTargetRef: Annotated[CrossVersionObjectReference | None, Wire(1, required=True)] = None
    minReplicas: Annotated[int | None, Wire(2, zero_counts=True)] = None
    maxReplicas: Annotated[int | None, Wire(3, required=True)] = None
    targetCPUUtilizationPercentage: Annotated[int | None, Wire(4)] = None


class ProcessorAutoscalerStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int | None, Wire(1)] = None
    lastScaleTime: Annotated[Time | None, Wire(2)] = None
    currentReplicas: Annotated[int | None, Wire(3)] = None
    desiredReplicas: Annotated[int | None, Wire(4)] = None
    currentCPUUtilizationPercentage: Annotated[int | None, Wire(5)] = None


class CrossVersionObjectReference(Part, frozen=True, kw_only=True):
    kind: Annotated[str, Wire(1, required=True)] = ""
    name: Annotated[str, Wire(2, required=True)] = ""
    apiVersion: Annotated[str, Wire(3)] = ""


class HorizontalPodAutoscalerStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int, Wire(1)] = 0
    lastScaleTime: Annotated[Time | None, Wire(2)] = None
    currentReplicas: Annotated[int, Wire(3)] = 0
    desiredReplicas: Annotated[int, Wire(4)] = 0
    currentMetrics: Annotated[tuple[Loose, ...], Wire(5, atomic=True)] = ()
    conditions: Annotated[tuple[Condition, ...], Wire(6, keys=("type",))] = ()
