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

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1, required=True)] = None
    involvedObject: Annotated[ObjectReference | None, Wire(2, required=True)] = None
    reason: Annotated[str, Wire(3)] = ""
    message: Annotated[str, Wire(4)] = ""
    source: Annotated[EventSource | None, Wire(5)] = None
    firstTimestamp: Annotated[Time | None, Wire(6)] = None
    lastTimestamp: Annotated[Time | None, Wire(7)] = None
    count: Annotated[int, Wire(8)] = 0
    type: Annotated[str, Wire(9)] = ""
    eventTime: Annotated[Time | None, Wire(10)] = None
    series: Annotated[EventSeries | None, Wire(11)] = None
    action: Annotated[str, Wire(12)] = ""
    related: Annotated[ObjectReference | None, Wire(13)] = None
    reportingComponent: Annotated[str, Wire(14)] = ""
    reportingInstance: Annotated[str, Wire(15)] = ""


class EventSource(Part, frozen=True, kw_only=True):
    component: Annotated[str, Wire(1)] = ""
    host: Annotated[str, Wire(2)] = ""


class EventSeries(Part, frozen=True, kw_only=True):
    count: Annotated[int, Wire(1)] = 0
    lastObservedTime: Annotated[Time | None, Wire(2)] = None


class ConfigMap(Part, frozen=True, kw_only=True):
    """A config map: texts and bytes by key, for variables and volumes of pods."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    immutable: Annotated[bool | None, Wire(4, zero_counts=True)] = None
    data: Annotated[dict[str, str], Wire(2)] = {}
    binaryData: Annotated[dict[str, Bytes], Wire(3)] = {}


class Secret(Part, frozen=True, kw_only=True):
    """A secret: as a config map, kept sealed at rest."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    immutable: Annotated[bool | None, Wire(5, zero_counts=True)] = None
    data: Annotated[dict[str, Bytes], Wire(2)] = {}
    stringData: Annotated[dict[str, str], Wire(4)] = {}
    type: Annotated[str, Wire(3)] = ""


class ServiceAccount(Part, frozen=True, kw_only=True):
    """A service account: whom a pod is, to this API."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    secrets: Annotated[tuple[ObjectReference, ...], Wire(2, keys=("name",))] = ()
    imagePullSecrets: Annotated[tuple[LocalObjectReference, ...], Wire(3)] = ()
    automountServiceAccountToken: Annotated[bool | None, Wire(4, zero_counts=True)] = None


class ResourceQuota(Part, frozen=True, kw_only=True):
    """A resource quota: what the objects of a namespace may use together."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ResourceQuotaSpec | None, Wire(2)] = None
    status: Annotated[ResourceQuotaStatus | None, Wire(3)] = None


class ResourceQuotaSpec(Part, frozen=True, kw_only=True):
    hard: Annotated[dict[str, Quantity], Wire(1)] = {}
    scopes: Annotated[tuple[str, ...], Wire(2)] = ()
    scopeSelector: Annotated[ScopeSelector | None, Wire(3)] = None


class ScopeSelector(Part, frozen=True, kw_only=True):
    matchExpressions: Annotated[tuple[ScopedResourceSelectorRequirement, ...], Wire(1)] = ()


class ScopedResourceSelectorRequirement(Part, frozen=True, kw_only=True):
    scopeName: Annotated[str, Wire(1, required=True)] = ""
    operator: Annotated[str, Wire(2, required=True)] = ""
    values: Annotated[tuple[str, ...], Wire(3)] = ()


class ResourceQuotaStatus(Part, frozen=True, kw_only=True):
    hard: Annotated[dict[str, Quantity], Wire(1)] = {}
    used: Annotated[dict[str, Quantity], Wire(2)] = {}


class LimitRange(Part, frozen=True, kw_only=True):
    """A limit range: defaults and bounds of what a container may ask for."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[LimitRangeSpec | None, Wire(2)] = None


class LimitRangeSpec(Part, frozen=True, kw_only=True):
    limits: Annotated[tuple[LimitRangeItem, ...], Wire(1, required=True)] = ()


class LimitRangeItem(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    max: Annotated[dict[str, Quantity], Wire(2)] = {}
    min: Annotated[dict[str, Quantity], Wire(3)] = {}
    default: Annotated[dict[str, Quantity], Wire(4)] = {}
    defaultRequest: Annotated[dict[str, Quantity], Wire(5)] = {}
    maxLimitRequestRatio: Annotated[dict[str, Quantity], Wire(6)] = {}


class ReplicationController(Part, frozen=True, kw_only=True):
    """A replication controller: the forerunner of a replica set."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ReplicationControllerSpec | None, Wire(2)] = None
    status: Annotated[ReplicationControllerStatus | None, Wire(3)] = None


class ReplicationControllerSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, zero_counts=True)] = None
    minReadySeconds: Annotated[int, Wire(4)] = 0
    selector: Annotated[dict[str, str], Wire(2, atomic=True)] = {}
    template: Annotated[PodTemplateSpec | None, Wire(3)] = None


class ReplicationControllerStatus(Part, frozen=True, kw_only=True):
    replicas: Annotated[int, Wire(1, required=True)] = 0
    fullyLabeledReplicas: Annotated[int, Wire(2)] = 0
    readyReplicas: Annotated[int, Wire(4)] = 0
    availableReplicas: Annotated[int, Wire(5)] = 0
    observedGeneration: Annotated[int, Wire(3)] = 0
    conditions: Annotated[tuple[ReplicationControllerCondition, ...], Wire(6, keys=("type",))] = ()


class ReplicationControllerCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    status: Annotated[str, Wire(2, required=True)] = ""
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None
    reason: Annotated[str, Wire(4)] = ""
    message: Annotated[str, Wire(5)] = ""


class PersistentVolumeClaim(Part, frozen=True, kw_only=True):
    """A persistent volume claim: a request for room that outlives pods."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[PersistentVolumeClaimSpec | None, Wire(2)] = None
    status: Annotated[PersistentVolumeClaimStatus | None, Wire(3)] = None


class PersistentVolumeClaimStatus(Part, frozen=True, kw_only=True):
    phase: Annotated[str, Wire(1)] = ""
    accessModes: Annotated[tuple[str, ...], Wire(2)] = ()
    capacity: Annotated[dict[str, Quantity], Wire(3)] = {}
    conditions: Annotated[tuple[PersistentVolumeClaimCondition, ...], Wire(4, keys=("type",))] = ()
    allocatedResources: Annotated[dict[str, Quantity], Wire(5)] = {}
    allocatedResourceStatuses: Annotated[dict[str, str], Wire(7)] = {}
    currentVolumeAttributesClassName: Annotated[str, Wire(8)] = ""
    modifyVolumeStatus: Annotated[ModifyVolumeStatus | None, Wire(9)] = None
    healthStatus: Annotated[VolumeHealthStatus | None, Wire(10)] = None


class PersistentVolumeClaimCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    status: Annotated[str, Wire(2, required=True)] = ""
    lastProbeTime: Annotated[Time | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str, Wire(5)] = ""
    message: Annotated[str, Wire(6)] = ""


class ModifyVolumeStatus(Part, frozen=True, kw_only=True):
    targetVolumeAttributesClassName: Annotated[str, Wire(1)] = ""
    status: Annotated[str, Wire(2, required=True)] = ""


class VolumeHealthStatus(Part, frozen=True, kw_only=True):
    healthConditions: Annotated[tuple[VolumeHealthCondition, ...], Wire(1, keys=("status", "reason"))] = ()
    lastTransitionTime: Annotated[Time | None, Wire(2)] = None
