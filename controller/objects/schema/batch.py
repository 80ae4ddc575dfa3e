"""Kinds of batch/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Time, Wire
from controller.objects.schema.meta import LabelSelector, ObjectMeta
from controller.objects.schema.pods import PodTemplateSpec
from controller.objects.schema.references import ObjectReference


class Job(Part, frozen=True, kw_only=True):
    """A job: pods that are to end well so many times."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[JobSpec | None, Wire(2)] = None
    status: Annotated[JobStatus | None, Wire(3)] = None


class JobSpec(Part, frozen=True, kw_only=True):
    parallelism: Annotated[int | None, Wire(1, zero_counts=True)] = None
    completions: Annotated[int | None, Wire(2, zero_counts=True)] = None
    activeDeadlineSeconds: Annotated[int | None, Wire(3, zero_counts=True)] = None
    podFailurePolicy: Annotated[PodFailurePolicy | None, Wire(11)] = None
    successPolicy: Annotated[SuccessPolicy | None, Wire(16)] = None
    backoffLimit: Annotated[int | None, Wire(7, zero_counts=True)] = None
    backoffLimitPerIndex: Annotated[int | None, Wire(12, zero_counts=True)] = None
    maxFailedIndexes: Annotated[int | None, Wire(13, zero_counts=True)] = None
    selector: Annotated[LabelSelector | None, Wire(4)] = None
    manualSelector: Annotated[bool | None, Wire(5, zero_counts=True)] = None
    template: Annotated[PodTemplateSpec | None, Wire(6, required=True)] = None
    ttlSecondsAfterFinished: Annotated[int | None, Wire(8, zero_counts=True)] = None
    completionMode: Annotated[str, Wire(9)] = ""
    suspend: Annotated[bool | None, Wire(10, zero_counts=True)] = None
    podReplacementPolicy: Annotated[str, Wire(14)] = ""
    managedBy: Annotated[str, Wire(15)] = ""
    scheduling: Annotated[JobSchedulingConfiguration | None, Wire(17)] = None


class PodFailurePolicy(Part, frozen=True, kw_only=True):
    rules: Annotated[tuple[PodFailurePolicyRule, ...], Wire(1, required=True)] = ()


class PodFailurePolicyRule(Part, frozen=True, kw_only=True):
    action: Annotated[str, Wire(1, required=True)] = ""
    onExitCodes: Annotated[PodFailurePolicyOnExitCodesRequirement | None, Wire(2)] = None
    onPodConditions: Annotated[tuple[PodFailurePolicyOnPodConditionsPattern, ...], Wire(3)] = ()


class PodFailurePolicyOnExitCodesRequirement(Part, frozen=True, kw_only=True):
    containerName: Annotated[str, Wire(1)] = ""
    operator: Annotated[str, Wire(2, required=True)] = ""
    values: Annotated[tuple[int, ...], Wire(3, is_set=True, required=True)] = ()


class PodFailurePolicyOnPodConditionsPattern(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    status: Annotated[str, Wire(2)] = ""


class SuccessPolicy(Part, frozen=True, kw_only=True):
    rules: Annotated[tuple[SuccessPolicyRule, ...], Wire(1, required=True)] = ()


class SuccessPolicyRule(Part, frozen=True, kw_only=True):
    succeededIndexes: Annotated[str, Wire(1)] = ""
    succeededCount: Annotated[int | None, Wire(2, zero_counts=True)] = None


class JobSchedulingConfiguration(Part, frozen=True, kw_only=True):
    pass


class JobStatus(Part, frozen=True, kw_only=True):
    conditions: Annotated[tuple[JobCondition, ...], Wire(1, merge="type")] = ()
    startTime: Annotated[Time | None, Wire(2)] = None
    completionTime: Annotated[Time | None, Wire(3)] = None
    active: Annotated[int, Wire(4)] = 0
    succeeded: Annotated[int, Wire(5)] = 0
    failed: Annotated[int, Wire(6)] = 0
    terminating: Annotated[int, Wire(11)] = 0
    completedIndexes: Annotated[str, Wire(7)] = ""
    failedIndexes: Annotated[str, Wire(10)] = ""
    uncountedTerminatedPods: Annotated[UncountedTerminatedPods | None, Wire(8)] = None
    ready: Annotated[int, Wire(9)] = 0


class JobCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str, Wire(1, required=True)] = ""
    status: Annotated[str, Wire(2, required=True)] = ""
    lastProbeTime: Annotated[Time | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str, Wire(5)] = ""
    message: Annotated[str, Wire(6)] = ""


class UncountedTerminatedPods(Part, frozen=True, kw_only=True):
    succeeded: Annotated[tuple[str, ...], Wire(1, is_set=True)] = ()
    failed: Annotated[tuple[str, ...], Wire(2, is_set=True)] = ()


class CronJob(Part, frozen=True, kw_only=True):
    """A cron job: a job at each moment of a schedule."""

    apiVersion: str = ""
    kind: str = ""
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[CronJobSpec | None, Wire(2)] = None
    status: Annotated[CronJobStatus | None, Wire(3)] = None


class CronJobSpec(Part, frozen=True, kw_only=True):
    schedule: Annotated[str, Wire(1, required=True)] = ""
    timeZone: Annotated[str, Wire(8)] = ""
    startingDeadlineSeconds: Annotated[int | None, Wire(2, zero_counts=True)] = None
    concurrencyPolicy: Annotated[str, Wire(3)] = ""
    suspend: Annotated[bool | None, Wire(4, zero_counts=True)] = None
    jobTemplate: Annotated[JobTemplateSpec | None, Wire(5, required=True)] = None
    successfulJobsHistoryLimit: Annotated[int | None, Wire(6, zero_counts=True)] = None
    failedJobsHistoryLimit: Annotated[int | None, Wire(7, zero_counts=True)] = None


class JobTemplateSpec(Part, frozen=True, kw_only=True):
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[JobSpec | None, Wire(2)] = None


class CronJobStatus(Part, frozen=True, kw_only=True):
    active: Annotated[tuple[ObjectReference, ...], Wire(1)] = ()
    lastScheduleTime: Annotated[Time | None, Wire(4)] = None
    lastSuccessfulTime: Annotated[Time | None, Wire(5)] = None
