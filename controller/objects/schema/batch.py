"""Kinds of batch/v1."""

from __future__ import annotations

from typing import Annotated

from controller.objects.schema.base import Part, Time, Wire
from controller.objects.schema.meta import LabelSelector, ObjectMeta
from controller.objects.schema.pods import PodTemplateSpec
from controller.objects.schema.references import ObjectReference


class Job(Part, frozen=True, kw_only=True):
    """A job: pods that are to end well so many times."""

    apiVersion: str | None = None
    kind: str | None = None
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
    completionMode: Annotated[str | None, Wire(9)] = None
    suspend: Annotated[bool | None, Wire(10, zero_counts=True)] = None
    podReplacementPolicy: Annotated[str | None, Wire(14)] = None
    managedBy: Annotated[str | None, Wire(15)] = None
    scheduling: Annotated[JobSchedulingConfiguration | None, Wire(17)] = None


class PodFailurePolicy(Part, frozen=True, kw_only=True):
    rules: Annotated[list[PodFailurePolicyRule] | None, Wire(1, required=True)] = None


class PodFailurePolicyRule(Part, frozen=True, kw_only=True):
    action: Annotated[str | None, Wire(1, required=True)] = None
    onExitCodes: Annotated[PodFailurePolicyOnExitCodesRequirement | None, Wire(2)] = None
    onPodConditions: Annotated[list[PodFailurePolicyOnPodConditionsPattern] | None, Wire(3)] = None


class PodFailurePolicyOnExitCodesRequirement(Part, frozen=True, kw_only=True):
    containerName: Annotated[str | None, Wire(1)] = None
    operator: Annotated[str | None, Wire(2, required=True)] = None
    values: Annotated[list[int] | None, Wire(3, is_set=True, required=True)] = None


class PodFailurePolicyOnPodConditionsPattern(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    status: Annotated[str | None, Wire(2)] = None


class SuccessPolicy(Part, frozen=True, kw_only=True):
    rules: Annotated[list[SuccessPolicyRule] | None, Wire(1, required=True)] = None


class SuccessPolicyRule(Part, frozen=True, kw_only=True):
    succeededIndexes: Annotated[str | None, Wire(1)] = None
    succeededCount: Annotated[int | None, Wire(2, zero_counts=True)] = None


class JobSchedulingConfiguration(Part, frozen=True, kw_only=True):
    pass


class JobStatus(Part, frozen=True, kw_only=True):
    conditions: Annotated[list[JobCondition] | None, Wire(1, merge="type")] = None
    startTime: Annotated[Time | None, Wire(2)] = None
    completionTime: Annotated[Time | None, Wire(3)] = None
    active: Annotated[int | None, Wire(4)] = None
    succeeded: Annotated[int | None, Wire(5)] = None
    failed: Annotated[int | None, Wire(6)] = None
    terminating: Annotated[int | None, Wire(11)] = None
    completedIndexes: Annotated[str | None, Wire(7)] = None
    failedIndexes: Annotated[str | None, Wire(10)] = None
    uncountedTerminatedPods: Annotated[UncountedTerminatedPods | None, Wire(8)] = None
    ready: Annotated[int | None, Wire(9)] = None


class JobCondition(Part, frozen=True, kw_only=True):
    type: Annotated[str | None, Wire(1, required=True)] = None
    status: Annotated[str | None, Wire(2, required=True)] = None
    lastProbeTime: Annotated[Time | None, Wire(3)] = None
    lastTransitionTime: Annotated[Time | None, Wire(4)] = None
    reason: Annotated[str | None, Wire(5)] = None
    message: Annotated[str | None, Wire(6)] = None


class UncountedTerminatedPods(Part, frozen=True, kw_only=True):
    succeeded: Annotated[list[str] | None, Wire(1, is_set=True)] = None
    failed: Annotated[list[str] | None, Wire(2, is_set=True)] = None


class CronJob(Part, frozen=True, kw_only=True):
    """A cron job: a job at each moment of a schedule."""

    apiVersion: str | None = None
    kind: str | None = None
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[CronJobSpec | None, Wire(2)] = None
    status: Annotated[CronJobStatus | None, Wire(3)] = None


class CronJobSpec(Part, frozen=True, kw_only=True):
    schedule: Annotated[str | None, Wire(1, required=True)] = None
    timeZone: Annotated[str | None, Wire(8)] = None
    startingDeadlineSeconds: Annotated[int | None, Wire(2, zero_counts=True)] = None
    concurrencyPolicy: Annotated[str | None, Wire(3)] = None
    suspend: Annotated[bool | None, Wire(4, zero_counts=True)] = None
    jobTemplate: Annotated[JobTemplateSpec | None, Wire(5, required=True)] = None
    successfulJobsHistoryLimit: Annotated[int | None, Wire(6, zero_counts=True)] = None
    failedJobsHistoryLimit: Annotated[int | None, Wire(7, zero_counts=True)] = None


class JobTemplateSpec(Part, frozen=True, kw_only=True):
    metadata: Annotated[ObjectMeta | None, Wire(1)] = None
    spec: Annotated[JobSpec | None, Wire(2)] = None


class CronJobStatus(Part, frozen=True, kw_only=True):
    active: Annotated[list[ObjectReference] | None, Wire(1)] = None
    lastScheduleTime: Annotated[Time | None, Wire(4)] = None
    lastSuccessfulTime: Annotated[Time | None, Wire(5)] = None
