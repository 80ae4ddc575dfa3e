"""Kinds of apps/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import IntOrString, Loose, Part, Time, Wire
from controller.objects.schema.core import PersistentVolumeClaim
from controller.objects.schema.meta import LabelSelector, ObjectMeta
from controller.objects.schema.pods import PodTemplateSpec


class Deployment(Part, frozen=True, kw_only=True):
    """A deployment: replicas of a pod, replaced step by step when its template changes."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[DeploymentSpec | None, Wire(2)] = None
    status: Annotated[DeploymentStatus | None, Wire(3)] = None


class DeploymentSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, zero_counts=True)] = None
    selector: Annotated[LabelSelector | None, Wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(3, required=True)] = None
    strategy: Annotated[DeploymentStrategy | None, Wire(4)] = None
    minReadySeconds: Annotated[int | None, Wire(5)] = None
    revisionHistoryLimit: Annotated[int | None, Wire(6, zero_counts=True)] = None
    paused: Annotated[bool | None, Wire(7)] = None
    progressDeadlineSeconds: Annotated[int | None, Wire(9, zero_counts=True)] = None


class DeploymentStrategy(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1)] = None
    rollingUpdate: Annotated[RollingUpdateDeployment | None, Wire(2)] = None


class RollingUpdateDeployment(Part, frozen=True, kw_only=True):
    maxUnavailable: Annotated[IntOrString | None, Wire(1)] = None
    maxSurge: Annotated[IntOrString | None, Wire(2)] = None


class DeploymentStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int | None, Wire(1)] = None
    replicas: Annotated[int | None, Wire(2)] = None
    updatedReplicas: Annotated[int | None, Wire(3)] = None
    readyReplicas: Annotated[int | None, Wire(7)] = None
    availableReplicas: Annotated[int | None, Wire(4)] = None
    unavailableReplicas: Annotated[int | None, Wire(5)] = None
    terminatingReplicas: Annotated[int | None, Wire(9)] = None
    conditions: Annotated[list[DeploymentCondition] | None, Wire(6, keys=("type",))] = None
    collisionCount: Annotated[int | None, Wire(8)] = None


class DeploymentCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1)] = None
    status: Annotated[str | None, Wire(2)] = None
    lastUpdateTime: Annotated[Time | None, Wire(6)] = None
    lastTransitionTime: Annotated[Time | None, Wire(7)] = None
    reason: Annotated[str | None, Wire(4)] = None
    message: Annotated[str | None, Wire(5)] = None


class ReplicaSet(Part, frozen=True, kw_only=True):
    """A replica set: so many pods of one template."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ReplicaSetSpec | None, Wire(2)] = None
    status: Annotated[ReplicaSetStatus | None, Wire(3)] = None


class ReplicaSetSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, zero_counts=True)] = None
    minReadySeconds: Annotated[int | None, Wire(4)] = None
    selector: Annotated[LabelSelector | None, Wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(3)] = None


class ReplicaSetStatus(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, required=True)] = None
    fullyLabeledReplicas: Annotated[int | None, Wire(2)] = None
    readyReplicas: Annotated[int | None, Wire(4)] = None
    availableReplicas: Annotated[int | None, Wire(5)] = None
    terminatingReplicas: Annotated[int | None, Wire(7)] = None
    observedGeneration: Annotated[int | None, Wire(3)] = None
    conditions: Annotated[list[ReplicaSetCondition] | None, Wire(6, keys=("type",))] = None


class ReplicaSetCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1)] = None
    status: Annotated[str | None, Wire(2)] = None
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None
    reason: Annotated[str | None, Wire(4)] = None
    message: Annotated[str | None, Wire(5)] = None


class DaemonSet(Part, frozen=True, kw_only=True):
    """A daemon set: a pod on each node."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[DaemonSetSpec | None, Wire(2)] = None
    status: Annotated[DaemonSetStatus | None, Wire(3)] = None


class DaemonSetSpec(Part, frozen=True, kw_only=True):
    selector: Annotated[LabelSelector | None, Wire(1, required=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(2, required=True)] = None
    updateStrategy: Annotated[DaemonSetUpdateStrategy | None, Wire(3)] = None
    minReadySeconds: Annotated[int | None, Wire(4)] = None
    revisionHistoryLimit: Annotated[int | None, Wire(6, zero_counts=True)] = None


class DaemonSetUpdateStrategy(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1)] = None
    rollingUpdate: Annotated[RollingUpdateDaemonSet | None, Wire(2)] = None


class RollingUpdateDaemonSet(Part, frozen=True, kw_only=True):
    maxUnavailable: Annotated[IntOrString | None, Wire(1)] = None
    maxSurge: Annotated[IntOrString | None, Wire(2)] = None


class DaemonSetStatus(Part, frozen=True, kw_only=True):
    currentNumberScheduled: Annotated[int | None, Wire(1, required=True)] = None
    numberMisscheduled: Annotated[int | None, Wire(2, required=True)] = None
    desiredNumberScheduled: Annotated[int | None, Wire(3, required=True)] = None
    numberReady: Annotated[int | None, Wire(4, required=True)] = None
    observedGeneration: Annotated[int | None, Wire(5)] = None
    updatedNumberScheduled: Annotated[int | None, Wire(6)] = None
    numberAvailable: Annotated[int | None, Wire(7)] = None
    numberUnavailable: Annotated[int | None, Wire(8)] = None
    collisionCount: Annotated[int | None, Wire(9)] = None
    conditions: Annotated[list[DaemonSetCondition] | None, Wire(10, keys=("type",))] = None


class DaemonSetCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None
    reason: Annotated[str | None, Wire(4)] = None
    message: Annotated[str | None, Wire(5)] = None


class StatefulSet(Part, frozen=True, kw_only=True):
    """A stateful set: numbered pods that come and go in order."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[StatefulSetSpec | None, Wire(2)] = None
    status: Annotated[StatefulSetStatus | None, Wire(3)] = None


class StatefulSetSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, zero_counts=True)] = None
    selector: Annotated[LabelSelector | None, Wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(3, required=True)] = None
    volumeClaimTemplates: Annotated[list[PersistentVolumeClaim] | None, Wire(4)] = None
    serviceName: Annotated[str | None, Wire(5)] = None
    podManagementPolicy: Annotated[str | None, Wire(6)] = None
    updateStrategy: Annotated[StatefulSetUpdateStrategy | None, Wire(7)] = None
    revisionHistoryLimit: Annotated[int | None, Wire(8, zero_counts=True)] = None
    minReadySeconds: Annotated[int | None, Wire(9)] = None
    persistentVolumeClaimRetentionPolicy: Annotated[
        StatefulSetPersistentVolumeClaimRetentionPolicy | None, Wire(10)
    ] = None
    ordinals: Annotated[StatefulSetOrdinals | None, Wire(11)] = None


class StatefulSetUpdateStrategy(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1)] = None
    rollingUpdate: Annotated[RollingUpdateStatefulSetStrategy | None, Wire(2)] = None


class RollingUpdateStatefulSetStrategy(Part, frozen=True, kw_only=True):
    partition: Annotated[int | None, Wire(1, zero_counts=True)] = None
    maxUnavailable: Annotated[IntOrString | None, Wire(2)] = None


class StatefulSetPersistentVolumeClaimRetentionPolicy(Part, frozen=True, kw_only=True):
    whenDeleted: Annotated[str | None, Wire(1)] = None
    whenScaled: Annotated[str | None, Wire(2)] = None


class StatefulSetOrdinals(Part, frozen=True, kw_only=True):
    start: Annotated[int | None, Wire(1)] = None


class StatefulSetStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int | None, Wire(1)] = None
    replicas: Annotated[int | None, Wire(2, required=True)] = None
    readyReplicas: Annotated[int | None, Wire(3)] = None
    currentReplicas: Annotated[int | None, Wire(4)] = None
    updatedReplicas: Annotated[int | None, Wire(5)] = None
    currentRevision: Annotated[str | None, Wire(6)] = None
    updateRevision: Annotated[str | None, Wire(7)] = None
    collisionCount: Annotated[int | None, Wire(9)] = None
    conditions: Annotated[list[StatefulSetCondition] | None, Wire(10, keys=("type",))] = None
    availableReplicas: Annotated[int | None, Wire(11)] = None


class StatefulSetCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1)] = None
    status: Annotated[str | None, Wire(2)] = None
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None
    reason: Annotated[str | None, Wire(4)] = None
    message: Annotated[str | None, Wire(5)] = None


class ControllerRevision(Part, frozen=True, kw_only=True):
    """A controller revision: an earlier template of a stateful set."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    data: Annotated[Loose | None, Wire(2, required=True)] = None
    revision: Annotated[int | None, Wire(3, zero_counts=True)] = None
