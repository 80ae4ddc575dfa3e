"""Jobs and cron jobs as rows of the table of kinds. Pure."""

from __future__ import annotations

from dataclasses import replace

from controller.objects.fields import Json, Report, one_of
from controller.objects.resource import NAMED, Resource
from controller.objects.schema import batch
from controller.workloads import schedule
from controller.workloads.checks import COUNT, TemplateRules, unchanged, workload
from controller.workloads.jobs import INDEXES, MOST_INDEXES, ranges

MOST_RULES = 20

_UID, _NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"


def _job_checks(spec: Json, field: str, templates: TemplateRules, report: Report) -> None:
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
            COUNT(spec[name], f"{field}.{name}", report)
    mode = spec.get("completionMode") or "NonIndexed"
    one_of("NonIndexed", "Indexed")(mode, f"{field}.completionMode", report)
    if mode == "Indexed":
        _few_indexes(spec, field, report)
    elif spec.get("backoffLimitPerIndex") is not None:
        report.invalid(
            f"{field}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], "requires indexed completion mode"
        )
    if spec.get("successPolicy") is not None:
        _success_policy(spec, mode, f"{field}.successPolicy", report)
    if spec.get("managedBy") not in (None, "", "kubernetes.io/job-controller"):
        report.forbidden(f"{field}.managedBy", "there is no other controller of jobs here")
    _own_pods(spec, field, report)
    if spec.get("podFailurePolicy") and policy != "Never":
        report.invalid(f"{field}.podFailurePolicy", "", 'requires the pod template to have restartPolicy "Never"')


def _own_pods(spec: Json, field: str, report: Report) -> None:
    """A job's pods are those that it has made."""
    if spec.get("manualSelector"):
        report.forbidden(f"{field}.manualSelector", "chinampa chooses a job's pods by their owner")
    # What the server shows of another job may be sent again, as a job of its own.
    labels: Json = (spec.get("selector") or {}).get("matchLabels") or {}
    if spec.get("selector") and (
        (spec["selector"].get("matchExpressions")) or not {*labels} <= {_UID, _NAME, "controller-uid", "job-name"}
    ):
        report.invalid(f"{field}.selector", spec["selector"], "`selector` not auto-generated")


def _success_policy(spec: Json, mode: str, field: str, report: Report) -> None:
    if mode != "Indexed":
        report.invalid(field, "", "requires indexed completion mode")
        return
    rules: list[Json] = spec["successPolicy"].get("rules") or []
    if not rules or len(rules) > MOST_RULES:
        report.required(f"{field}.rules", f"between 1 and {MOST_RULES} rules must be specified")
    completions = int(spec.get("completions") or 0)
    for number, rule in enumerate(rules):
        own, text, enough = f"{field}.rules[{number}]", rule.get("succeededIndexes"), rule.get("succeededCount")
        if text is None and enough is None:
            report.required(own, "at least one of succeededCount or succeededIndexes must be specified")
        indexes = None if text is None else list(ranges(text))
        if indexes is not None and not (INDEXES.fullmatch(str(text)) and _rising(indexes, completions)):
            why = f'must be indexes below {completions} in rising order, as "0,2-4"'
            report.invalid(f"{own}.succeededIndexes", text, why)
        most = completions if indexes is None else len(indexes)
        if enough is not None and not 0 <= int(enough) <= most:
            report.invalid(f"{own}.succeededCount", enough, f"must be between 0 and {most}")


def _rising(indexes: list[int], completions: int) -> bool:
    return indexes == sorted(set(indexes)) and indexes[-1:] < [completions]


def _few_indexes(spec: Json, field: str, report: Report) -> None:
    if spec.get("completions") is None:
        report.required(f"{field}.completions", "when completion mode is Indexed")
    for name in ("parallelism", "completions"):
        if (spec.get(name) or 0) > MOST_INDEXES:
            why = f"must be less than or equal to {MOST_INDEXES} when completion mode is Indexed"
            report.invalid(f"{field}.{name}", spec[name], why)


def job_row(templates: TemplateRules) -> Resource:
    """Jobs."""

    def check(one: Json, before: Json | None, report: Report) -> None:
        spec: Json = one.get("spec") or {}
        _job_checks(spec, "spec", templates, report)
        if report.causes:
            return
        elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
        fixed = ["selector", "completionMode", "podFailurePolicy", "successPolicy", "backoffLimitPerIndex"]
        fixed += [] if elastic else ["completions"]
        waiting = before is not None and before["spec"].get("suspend")
        if before is not None and not report.causes:
            full, was = filled({**one, "metadata": before["metadata"]}), before
            fixed += [] if waiting else ["template"]
            unchanged(full, was, fixed, report)

    def filled(one: Json) -> Json:
        spec = _job_filled(one["spec"], templates)
        uid, name = one["metadata"]["uid"], one["metadata"]["name"]
        own = {_UID: uid, _NAME: name, "controller-uid": uid, "job-name": name}
        template: Json = spec["template"]
        metadata: Json = template.get("metadata") or {}
        labelled = {**template, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **own}}}
        return {**one, "spec": {**spec, "selector": {"matchLabels": {_UID: uid}}, "template": labelled}}

    row = workload(
        batch.Job,
        "batch",
        short=(),
        check=check,
        defaults=filled,
        warnings=lambda one: templates.warnings(one["spec"]["template"], "spec.template.spec"),
    )
    return replace(row, selectable=(*NAMED, "status.successful"))


def _job_filled(spec: Json, templates: TemplateRules) -> Json:
    full: Json = {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False, **spec}
    if spec.get("backoffLimitPerIndex") is not None and spec.get("backoffLimit") is None:
        full["backoffLimit"] = 2**31 - 1
    if full.get("parallelism") is None:
        full["parallelism"] = 1
        if full.get("completions") is None:
            full["completions"] = 1
    full.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    return {**full, "manualSelector": False, "template": templates.filled(full["template"])}


def cron_job_row(templates: TemplateRules) -> Resource:
    """Cron jobs."""

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

    return workload(
        batch.CronJob,
        "batch",
        short=("cj",),
        check=check,
        defaults=filled,
        warnings=lambda one: templates.warnings(
            one["spec"]["jobTemplate"]["spec"]["template"], "spec.jobTemplate.spec.template.spec"
        ),
    )
