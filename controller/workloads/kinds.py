"""Workloads as rows of the table of kinds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from controller.objects.fields import Json, Report, integer, one_of
from controller.objects.resource import NAMED, STATUS, Resource, Subresource
from controller.objects.schema import apps, batch
from controller.objects.selectors import matches
from controller.workloads import schedule
from controller.workloads.jobs import MOST_INDEXES

_SCALE = Subresource("scale", "Scale", STATUS, "autoscaling")
_COUNT = integer(0, 2**31 - 1)
_UID, _NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"


class Templates(Protocol):
    """What is known of pods: whether a template is one, its defaults, and what of it has no effect."""

    def check(self, template: Json, field: str, report: Report) -> None:
        """Report all for which pods of this template could not be run."""
        ...

    def filled(self, template: Json) -> Json:
        """The template with its defaults."""
        ...

    def warnings(self, template: Json, field: str) -> Sequence[str]:
        """A sentence for each thing in it that has no effect."""
        ...


Checking = Callable[[Json, Json | None, Report], None]


def resources(templates: Templates) -> tuple[Resource, ...]:
    """The rows of all workloads, for pods of which this is known."""
    return (
        _apps("deployments", "deploy", apps.Deployment, templates, _deployment_filled, _deployment),
        _apps("replicasets", "rs", apps.ReplicaSet, templates, _replicas_filled, _replicas),
        _apps("statefulsets", "sts", apps.StatefulSet, templates, _stateful_filled, _stateful),
        _job_row(templates),
        _cron_job_row(templates),
    )


def _apps(
    name: str,
    short: str,
    kind: type[apps.Deployment | apps.ReplicaSet | apps.StatefulSet],
    templates: Templates,
    fill: Callable[[Json], Json],
    check: Checking,
) -> Resource:
    def checked(one: Json, before: Json | None, report: Report) -> None:
        spec: Json = one.get("spec") or {}
        template: Json = spec.get("template") or {}
        templates.check(template, "spec.template", report)
        if (template.get("spec") or {}).get("restartPolicy") not in (None, "Always"):
            report.unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ("Always",))
        _selected(spec, template, report)
        check(one, before, report)

    def filled(one: Json) -> Json:
        full = fill(one["spec"])
        return {**one, "spec": {**full, "template": templates.filled(full["template"])}}

    return Resource(
        name=name,
        kind=kind.__name__,
        type=kind,
        group="apps",
        short=(short,),
        categories=("all",),
        subresources=(_SCALE, Subresource("status", kind.__name__, STATUS)),
        check=checked,
        defaults=filled,
        warnings=lambda one: templates.warnings(one["spec"]["template"], "spec.template.spec"),
        generation=True,
    )


def _selected(spec: Json, template: Json, report: Report) -> None:
    selector = spec.get("selector")
    labels: Json = (template.get("metadata") or {}).get("labels") or {}
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        report.required("spec.selector")
    elif not matches(selector, labels):
        report.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _unchanged(one: Json, before: Json | None, fields: Sequence[str], report: Report) -> None:
    for field in fields:
        if before is not None and before["spec"].get(field) != one["spec"].get(field):
            report.invalid(f"spec.{field}", one["spec"].get(field), "field is immutable")


def _replicas(one: Json, before: Json | None, report: Report) -> None:
    for name in ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        if one["spec"].get(name) is not None:
            _COUNT(one["spec"][name], f"spec.{name}", report)
    _unchanged(one, before, ("selector",), report)


def _deployment(one: Json, before: Json | None, report: Report) -> None:
    _replicas(one, before, report)
    strategy: Json = one["spec"].get("strategy") or {}
    one_of("Recreate", "RollingUpdate")(strategy.get("type") or "RollingUpdate", "spec.strategy.type", report)
    rolling: Json = strategy.get("rollingUpdate") or {}
    if rolling and strategy.get("type") == "Recreate":
        report.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    for name in ("maxSurge", "maxUnavailable"):
        value = rolling.get(name)
        percent = isinstance(value, str) and value.endswith("%") and value[:-1].isdigit()
        if value is not None and not percent and not (isinstance(value, int) and value >= 0):
            report.invalid(f"spec.strategy.rollingUpdate.{name}", value, "must be a whole number or a percentage")
    if rolling.get("maxSurge") in (0, "0%") and rolling.get("maxUnavailable") in (0, "0%"):
        report.invalid("spec.strategy.rollingUpdate.maxUnavailable", 0, "may not be 0 when `maxSurge` is 0")


def _stateful(one: Json, before: Json | None, report: Report) -> None:
    _replicas(one, before, report)
    _unchanged(one, before, ("serviceName", "podManagementPolicy"), report)
    if one["spec"].get("volumeClaimTemplates"):
        why = "chinampa cannot honour it: there are no claims; use emptyDir for what may be lost"
        report.forbidden("spec.volumeClaimTemplates", why)
    policy = one["spec"].get("podManagementPolicy") or "OrderedReady"
    one_of("OrderedReady", "Parallel")(policy, "spec.podManagementPolicy", report)


def _replicas_filled(spec: Json) -> Json:
    return {"replicas": 1, **spec}


def _deployment_filled(spec: Json) -> Json:
    full: Json = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, **spec}
    strategy: Json = {"type": "RollingUpdate", **(full.get("strategy") or {})}
    if strategy["type"] == "RollingUpdate":
        usual = {"maxSurge": "25%", "maxUnavailable": "25%"}
        strategy["rollingUpdate"] = {**usual, **(strategy.get("rollingUpdate") or {})}
    return {**full, "strategy": strategy}


def _stateful_filled(spec: Json) -> Json:
    full: Json = {"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady", **spec}
    strategy: Json = {"type": "RollingUpdate", **(full.get("updateStrategy") or {})}
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {"partition": 0})
    return {**full, "updateStrategy": strategy}


def _job_checks(spec: Json, field: str, templates: Templates, report: Report) -> None:
    template: Json = spec.get("template") or {}
    templates.check(template, f"{field}.template", report)
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy not in {"OnFailure", "Never"}:
        report.unsupported(f"{field}.template.spec.restartPolicy", policy or "Always", ("OnFailure", "Never"))
    for name in (
        *("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"),
        *("backoffLimitPerIndex", "maxFailedIndexes"),
    ):
        if spec.get(name) is not None:
            _COUNT(spec[name], f"{field}.{name}", report)
    mode = spec.get("completionMode") or "NonIndexed"
    one_of("NonIndexed", "Indexed")(mode, f"{field}.completionMode", report)
    if mode == "Indexed":
        _few_indexes(spec, field, report)
    elif spec.get("backoffLimitPerIndex") is not None:
        report.invalid(
            f"{field}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], "requires indexed completion mode"
        )
    if spec.get("successPolicy"):
        report.forbidden(f"{field}.successPolicy", "chinampa cannot honour this field: not supported yet")
    if spec.get("managedBy") not in (None, "", "kubernetes.io/job-controller"):
        report.forbidden(f"{field}.managedBy", "there is no other controller of jobs here")
    if spec.get("podFailurePolicy") and policy != "Never":
        report.invalid(f"{field}.podFailurePolicy", "", 'requires the pod template to have restartPolicy "Never"')


def _few_indexes(spec: Json, field: str, report: Report) -> None:
    if spec.get("completions") is None:
        report.required(f"{field}.completions", "when completion mode is Indexed")
    for name in ("parallelism", "completions"):
        if (spec.get(name) or 0) > MOST_INDEXES:
            why = f"must be less than or equal to {MOST_INDEXES} when completion mode is Indexed"
            report.invalid(f"{field}.{name}", spec[name], why)


def _job_row(templates: Templates) -> Resource:
    def check(one: Json, before: Json | None, report: Report) -> None:
        spec: Json = one.get("spec") or {}
        _job_checks(spec, "spec", templates, report)
        if spec.get("manualSelector"):
            report.forbidden("spec.manualSelector", "chinampa chooses a job's pods by their owner")
        elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
        fixed = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"]
        fixed += [] if elastic else ["completions"]
        waiting = before is not None and before["spec"].get("suspend")
        if before is not None and not report.causes:
            full, was = filled({**one, "metadata": before["metadata"]}), before
            fixed += [] if waiting else ["template"]
            _unchanged(full, was, fixed, report)

    def filled(one: Json) -> Json:
        spec = _job_filled(one["spec"], templates)
        uid, name = one["metadata"]["uid"], one["metadata"]["name"]
        own = {_UID: uid, _NAME: name, "controller-uid": uid, "job-name": name}
        template: Json = spec["template"]
        metadata: Json = template.get("metadata") or {}
        labelled = {**template, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **own}}}
        return {**one, "spec": {**spec, "selector": {"matchLabels": {_UID: uid}}, "template": labelled}}

    return Resource(
        name="jobs",
        kind="Job",
        type=batch.Job,
        group="batch",
        categories=("all",),
        subresources=(Subresource("status", "Job", STATUS),),
        selectable=(*NAMED, "status.successful"),
        check=check,
        defaults=filled,
        warnings=lambda one: templates.warnings(one["spec"]["template"], "spec.template.spec"),
        generation=True,
    )


def _job_filled(spec: Json, templates: Templates) -> Json:
    full: Json = {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False, **spec}
    if spec.get("backoffLimitPerIndex") is not None and spec.get("backoffLimit") is None:
        full["backoffLimit"] = 2**31 - 1
    if full.get("parallelism") is None:
        full["parallelism"] = 1
        if full.get("completions") is None:
            full["completions"] = 1
    full.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    return {**full, "manualSelector": False, "template": templates.filled(full["template"])}


def _cron_job_row(templates: Templates) -> Resource:
    def check(one: Json, before: Json | None, report: Report) -> None:
        del before
        spec: Json = one.get("spec") or {}
        if len(one["metadata"]["name"]) > 52:
            report.invalid("metadata.name", one["metadata"]["name"], "must be no more than 52 characters")
        try:
            schedule.parsed(str(spec.get("schedule") or ""))
        except ValueError as error:
            report.invalid("spec.schedule", spec.get("schedule"), str(error))
        try:
            schedule.zone(spec.get("timeZone"))
        except ValueError as error:
            report.invalid("spec.timeZone", spec.get("timeZone"), str(error))
        policy = spec.get("concurrencyPolicy") or "Allow"
        one_of("Allow", "Forbid", "Replace")(policy, "spec.concurrencyPolicy", report)
        _job_checks((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec", templates, report)

    def filled(one: Json) -> Json:
        usual = {"concurrencyPolicy": "Allow", "suspend": False}
        limits = {"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}
        spec: Json = {**usual, **limits, **one["spec"]}
        template: Json = spec["jobTemplate"]
        inner = {**template["spec"], "template": templates.filled(template["spec"]["template"])}
        return {**one, "spec": {**spec, "jobTemplate": {**template, "spec": inner}}}

    return Resource(
        name="cronjobs",
        kind="CronJob",
        type=batch.CronJob,
        group="batch",
        short=("cj",),
        categories=("all",),
        subresources=(Subresource("status", "CronJob", STATUS),),
        check=check,
        defaults=filled,
        warnings=lambda one: templates.warnings(
            one["spec"]["jobTemplate"]["spec"]["template"], "spec.jobTemplate.spec.template.spec"
        ),
        generation=True,
    )
