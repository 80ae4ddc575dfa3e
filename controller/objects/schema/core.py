"""Kinds of the core group that are data: events, config maps, secrets, service accounts, quotas."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Bytes, Part, Quantity, Time, Wire
from controller.objects.schema.meta import ObjectMeta
from controller.objects.schema.pods import PodTemplateSpec
from controller.objects.schema.podstatus import VolumeHealthCondition
from controller.objects.schema.references import LocalObjectReference, ObjectReference
from controller.objects.schema.volumes import PersistentVolumeClaimSpec


class Event(Part, frozen=True, kw_only=True):
    """An event: something that happened to an object."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1, required=True)] = None
    involvedObject: Annotated[ObjectReference | None, Wire(2, required=True)] = None
    reason: Annotated[str | None, Wire(3)] = None
    message: Annotated[str | None, Wire(4)] = None
    source: Annotated[EventSource | None, Wire(5)] = None
    firstTimestamp: Annotated[Time | None, Wire(6)] = None
    lastTimestamp: Annotated[Time | None, Wire(7)] = None
    count: Annotated[int | None, Wire(8)] = None
    type: Annotated[str | None, Wire(9)] = None
    eventTime: Annotated[Time | None, Wire(10)] = None
    series: Annotated[EventSeries | None, Wire(11)] = None
    action: Annotated[str | None, Wire(12)] = None
    related: Annotated[ObjectReference | None, Wire(13)] = None
    reportingComponent: Annotated[str | None, Wire(14)] = None
    reportingInstance: Annotated[str | None, Wire(15)] = None


class EventSource(Part, frozen=True, kw_only=True):
    component: Annotated[str | None, Wire(1)] = None
    host: Annotated[str | None, Wire(2)] = None


class EventSeries(Part, frozen=True, kw_only=True):
    count: Annotated[int | None, Wire(1)] = None
    lastObservedTime: Annotated[Time | None, Wire(2)] = None


class ConfigMap(Part, frozen=True, kw_only=True):
    """A config map: texts and bytes by key, for variables and volumes of pods."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    immutable: Annotated[bool | None, Wire(4, zero_counts=True)] = None
    data: Annotated[dict[str, str] | None, Wire(2)] = None
    binaryData: Annotated[dict[str, Bytes] | None, Wire(3)] = None


class Secret(Part, frozen=True, kw_only=True):
    """A secret: as a config map, kept sealed at rest."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    immutable: Annotated[bool | None, Wire(5, zero_counts=True)] = None
    data: Annotated[dict[str, Bytes] | None, Wire(2)] = None
    stringData: Annotated[dict[str, str] | None, Wire(4)] = None
    type: Annotated[str | None, Wire(3)] = None


class ServiceAccount(Part, frozen=True, kw_only=True):
    """A service account: whom a pod is, to this API."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    secrets: Annotated[list[ObjectReference] | None, Wire(2, keys=("name",))] = None
    imagePullSecrets: Annotated[list[LocalObjectReference] | None, Wire(3)] = None
    automountServiceAccountToken: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class ResourceQuota(Part, frozen=True, kw_only=True):
    """A resource quota: what the objects of a namespace may use together."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ResourceQuotaSpec | None, Wire(2)] = None
    status: Annotated[ResourceQuotaStatus | None, Wire(3)] = None


class ResourceQuotaSpec(Part, frozen=True, kw_only=True):
    hard: Annotated[dict[str, Quantity] | None, Wire(1)] = None
    scopes: Annotated[list[str] | None, Wire(2)] = None
    scopeSelector: Annotated[ScopeSelector | None, Wire(3)] = None


class ScopeSelector(Part, frozen=True, kw_only=True):
    matchExpressions: Annotated[list[ScopedResourceSelectorRequirement] | None, Wire(1)] = None


class ScopedResourceSelectorRequirement(Part, frozen=True, kw_only=True):
    scopeName: Annotated[str | None, Wire(1, required=True)] = None
    operator: Annotated[str | None, Wire(2, required=True)] = None
    values: Annotated[list[str] | None, Wire(3)] = None


class ResourceQuotaStatus(Part, frozen=True, kw_only=True):
    hard: Annotated[dict[str, Quantity] | None, Wire(1)] = None
    used: Annotated[dict[str, Quantity] | None, Wire(2)] = None


class LimitRange(Part, frozen=True, kw_only=True):
    """A limit range: defaults and bounds of what a container may ask for."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[LimitRangeSpec | None, Wire(2)] = None


class LimitRangeSpec(Part, frozen=True, kw_only=True):
    limits: Annotated[list[LimitRangeItem] | None, Wire(1, required=True)] = None


class LimitRangeItem(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    max: Annotated[dict[str, Quantity] | None, Wire(2)] = None
    min: Annotated[dict[str, Quantity] | None, Wire(3)] = None
    default: Annotated[dict[str, Quantity] | None, Wire(4)] = None
    defaultRequest: Annotated[dict[str, Quantity] | None, Wire(5)] = None
    maxLimitRequestRatio: Annotated[dict[str, Quantity] | None, Wire(6)] = None


class ReplicationController(Part, frozen=True, kw_only=True):
    """A replication controller: the forerunner of a replica set."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ReplicationControllerSpec | None, Wire(2)] = None
    status: Annotated[ReplicationControllerStatus | None, Wire(3)] = None


class ReplicationControllerSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, zero_counts=True)] = None
    minReadySeconds: Annotated[int | None, Wire(4)] = None
    selector: Annotated[dict[str, str] | None, Wire(2, atomic=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(3)] = None


class ReplicationControllerStatus(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, required=True)] = None
    fullyLabeledReplicas: Annotated[int | None, Wire(2)] = None
    readyReplicas: Annotated[int | None, Wire(4)] = None
    availableReplicas: Annotated[int | None, Wire(5)] = None
    observedGeneration: Annotated[int | None, Wire(3)] = None
    conditions: Annotated[list[ReplicationControllerCondition] | None, Wire(6, keys=("type",))] = None


class ReplicationControllerCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None
    reason: Annotated[str | None, Wire(4)] = None
    message: Annotated[str | None, Wire(5)] = None


class PersistentVolumeClaim(Part, frozen=True, kw_only=True):
    """A persistent volume claim: a request for room that outlives pods."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PersistentVolumeClaimSpec | None, Wire(2)] = None
    status: Annotated[PersistentVolumeClaimStatus | None, Wire(3)] = None


class PersistentVolumeClaimStatus(Part, frozen=True, kw_only=True):
    phase: Annotated[str | None, Wire(1)] = None
    accessModes: Annotated[list[str] | None, Wire(2)] = None
    capacity: Annotated[dict[str, Quantity] | None, Wire(3)] = None
    conditions: Annotated[list[PersistentVolumeClaimCondition] | None, Wire(4, keys=("type",))] = None
    allocatedResources: Annotated[dict[str, Quantity] | None, Wire(5)] = None
    allocatedResourceStatuses: Annotated[dict[str, str] | None, Wire(7)] = None
    currentVolumeAttributesClassName: Annotated[str | None, Wire(8)] = None
    modifyVolumeStatus: Annotated[ModifyVolumeStatus | None, Wire(9)] = None
    healthStatus: Annotated[VolumeHealthStatus | None, Wire(10)] = None


class PersistentVolumeClaimCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None
    lastProbeTime: Annotated[Time | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str | None, Wire(5)] = None
    message: Annotated[str | None, Wire(6)] = None


class ModifyVolumeStatus(Part, frozen=True, kw_only=True):
    targetVolumeAttributesClassName: Annotated[str | None, Wire(1)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None


class VolumeHealthStatus(Part, frozen=True, kw_only=True):
    healthConditions: Annotated[list[VolumeHealthCondition] | None, Wire(1, keys=("status", "reason"))] = None
    lastTransitionTime: Annotated[Time | None, Wire(2)] = None
