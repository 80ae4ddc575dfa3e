"""Kinds of apps/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import IntOrString, Loose, Part, Time, Wire
from controller.objects.schema.core import PersistentVolumeClaim
from controller.objects.schema.meta import LabelSelector, ObjectMeta
from controller.objects.schema.pods import PodTemplateSpec


class Deployment(Part, frozen=True, kw_only=True):
    """A deployment: replicas of a pod, replaced step by step when its template changes."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[DeploymentSpec | None, Wire(2)] = None
    status: Annotated[DeploymentStatus | None, Wire(3)] = None


class DeploymentSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, zero_counts=True)] = None
    selector: Annotated[LabelSelector | None, Wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(3, required=True)] = None
    strategy: Annotated[DeploymentStrategy | None, Wire(4)] = None
    minReadySeconds: Annotated[int, Wire(5)] = 0
    revisionHistoryLimit: Annotated[int | None, Wire(6, zero_counts=True)] = None
    paused: Annotated[bool, Wire(7)] = False
    progressDeadlineSeconds: Annotated[int | None, Wire(9, zero_counts=True)] = None


class DeploymentStrategy(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1)] = ""
    rollingUpdate: Annotated[RollingUpdateDeployment | None, Wire(2)] = None


class RollingUpdateDeployment(Part, frozen=True, kw_only=True):
    maxUnavailable: Annotated[IntOrString | None, Wire(1)] = None
    maxSurge: Annotated[IntOrString | None, Wire(2)] = None


class DeploymentStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int, Wire(1)] = 0
    replicas: Annotated[int, Wire(2)] = 0
    updatedReplicas: Annotated[int, Wire(3)] = 0
    readyReplicas: Annotated[int, Wire(7)] = 0
    availableReplicas: Annotated[int, Wire(4)] = 0
    unavailableReplicas: Annotated[int, Wire(5)] = 0
    terminatingReplicas: Annotated[int, Wire(9)] = 0
    conditions: Annotated[tuple[DeploymentCondition, ...], Wire(6, keys=("type",))] = ()
    collisionCount: Annotated[int, Wire(8)] = 0


class DeploymentCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1)] = ""
    status: Annotated[str, Wire(2)] = ""
    lastUpdateTime: Annotated[Time | None, Wire(6)] = None
    lastTransitionTime: Annotated[Time | None, Wire(7)] = None
    reason: Annotated[str, Wire(4)] = ""
    message: Annotated[str, Wire(5)] = ""


class ReplicaSet(Part, frozen=True, kw_only=True):
    """A replica set: so many pods of one template."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[ReplicaSetSpec | None, Wire(2)] = None
    status: Annotated[ReplicaSetStatus | None, Wire(3)] = None


class ReplicaSetSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, zero_counts=True)] = None
    minReadySeconds: Annotated[int, Wire(4)] = 0
    selector: Annotated[LabelSelector | None, Wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(3)] = None


class ReplicaSetStatus(Part, frozen=True, kw_only=True):
    replicas: Annotated[int, Wire(1, required=True)] = 0
    fullyLabeledReplicas: Annotated[int, Wire(2)] = 0
    readyReplicas: Annotated[int, Wire(4)] = 0
    availableReplicas: Annotated[int, Wire(5)] = 0
    terminatingReplicas: Annotated[int, Wire(7)] = 0
    observedGeneration: Annotated[int, Wire(3)] = 0
    conditions: Annotated[tuple[ReplicaSetCondition, ...], Wire(6, keys=("type",))] = ()


class ReplicaSetCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1)] = ""
    status: Annotated[str, Wire(2)] = ""
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None
    reason: Annotated[str, Wire(4)] = ""
    message: Annotated[str, Wire(5)] = ""


class DaemonSet(Part, frozen=True, kw_only=True):
    """A daemon set: a pod on each node."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[DaemonSetSpec | None, Wire(2)] = None
    status: Annotated[DaemonSetStatus | None, Wire(3)] = None


class DaemonSetSpec(Part, frozen=True, kw_only=True):
    selector: Annotated[LabelSelector | None, Wire(1, required=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(2, required=True)] = None
    updateStrategy: Annotated[DaemonSetUpdateStrategy | None, Wire(3)] = None
    minReadySeconds: Annotated[int, Wire(4)] = 0
    revisionHistoryLimit: Annotated[int | None, Wire(6, zero_counts=True)] = None


class DaemonSetUpdateStrategy(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1)] = ""
    rollingUpdate: Annotated[RollingUpdateDaemonSet | None, Wire(2)] = None


class RollingUpdateDaemonSet(Part, frozen=True, kw_only=True):
    maxUnavailable: Annotated[IntOrString | None, Wire(1)] = None
    maxSurge: Annotated[IntOrString | None, Wire(2)] = None


class DaemonSetStatus(Part, frozen=True, kw_only=True):
    currentNumberScheduled: Annotated[int, Wire(1, required=True)] = 0
    numberMisscheduled: Annotated[int, Wire(2, required=True)] = 0
    desiredNumberScheduled: Annotated[int, Wire(3, required=True)] = 0
    numberReady: Annotated[int, Wire(4, required=True)] = 0
    observedGeneration: Annotated[int, Wire(5)] = 0
    updatedNumberScheduled: Annotated[int, Wire(6)] = 0
    numberAvailable: Annotated[int, Wire(7)] = 0
    numberUnavailable: Annotated[int, Wire(8)] = 0
    collisionCount: Annotated[int, Wire(9)] = 0
    conditions: Annotated[tuple[DaemonSetCondition, ...], Wire(10, keys=("type",))] = ()


class DaemonSetCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    status: Annotated[str, Wire(2, required=True)] = ""
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None
    reason: Annotated[str, Wire(4)] = ""
    message: Annotated[str, Wire(5)] = ""


class StatefulSet(Part, frozen=True, kw_only=True):
    """A stateful set: numbered pods that come and go in order."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[StatefulSetSpec | None, Wire(2)] = None
    status: Annotated[StatefulSetStatus | None, Wire(3)] = None


class StatefulSetSpec(Part, frozen=True, kw_only=True):
    replicas: Annotated[int | None, Wire(1, zero_counts=True)] = None
    selector: Annotated[LabelSelector | None, Wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(3, required=True)] = None
    volumeClaimTemplates: Annotated[tuple[PersistentVolumeClaim, ...], Wire(4)] = ()
    serviceName: Annotated[str, Wire(5)] = ""
    podManagementPolicy: Annotated[str, Wire(6)] = ""
    updateStrategy: Annotated[StatefulSetUpdateStrategy | None, Wire(7)] = None
    revisionHistoryLimit: Annotated[int | None, Wire(8, zero_counts=True)] = None
    minReadySeconds: Annotated[int, Wire(9)] = 0
    persistentVolumeClaimRetentionPolicy: Annotated[
        StatefulSetPersistentVolumeClaimRetentionPolicy | None, Wire(10)
    ] = None
    ordinals: Annotated[StatefulSetOrdinals | None, Wire(11)] = None


class StatefulSetUpdateStrategy(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1)] = ""
    rollingUpdate: Annotated[RollingUpdateStatefulSetStrategy | None, Wire(2)] = None


class RollingUpdateStatefulSetStrategy(Part, frozen=True, kw_only=True):
    partition: Annotated[int | None, Wire(1, zero_counts=True)] = None
    maxUnavailable: Annotated[IntOrString | None, Wire(2)] = None


class StatefulSetPersistentVolumeClaimRetentionPolicy(Part, frozen=True, kw_only=True):
    whenDeleted: Annotated[str, Wire(1)] = ""
    whenScaled: Annotated[str, Wire(2)] = ""


class StatefulSetOrdinals(Part, frozen=True, kw_only=True):
    start: Annotated[int, Wire(1)] = 0


class StatefulSetStatus(Part, frozen=True, kw_only=True):
    observedGeneration: Annotated[int, Wire(1)] = 0
    replicas: Annotated[int, Wire(2, required=True)] = 0
    readyReplicas: Annotated[int, Wire(3)] = 0
    currentReplicas: Annotated[int, Wire(4)] = 0
    updatedReplicas: Annotated[int, Wire(5)] = 0
    currentRevision: Annotated[str, Wire(6)] = ""
    updateRevision: Annotated[str, Wire(7)] = ""
    collisionCount: Annotated[int, Wire(9)] = 0
    conditions: Annotated[tuple[StatefulSetCondition, ...], Wire(10, keys=("type",))] = ()
    availableReplicas: Annotated[int, Wire(11)] = 0


class StatefulSetCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1)] = ""
    status: Annotated[str, Wire(2)] = ""
    lastTransitionTime: Annotated[Time | None, Wire(3)] = None
    reason: Annotated[str, Wire(4)] = ""
    message: Annotated[str, Wire(5)] = ""


class ControllerRevision(Part, frozen=True, kw_only=True):
    """A controller revision: an earlier template of a stateful set."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    data: Annotated[Loose | None, Wire(2, required=True)] = None
    revision: Annotated[int | None, Wire(3, zero_counts=True)] = None
