"""Workloads that run for ever as rows of the table of kinds, and the table of all workloads. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from controller.objects.fields import Json, Report, dns_label, integer, one_of
from controller.objects.resource import Resource
from controller.objects.schema import apps, core
from controller.objects.selectors import matches
from controller.objects.storage_kinds import check_claim
from controller.workloads.batch_kinds import cron_job_row, job_row
from controller.workloads.checks import COUNT, TemplateRules, scaled, unchanged, workload


def _revision(one: Json, before: Json | None, report: Report) -> None:
    integer(0, 2**63 - 1)(one.get("revision", 0), "revision", report)
    if before is not None and before.get("data") != one.get("data"):
        report.invalid("data", one.get("data"), "field is immutable")


_REVISIONS = Resource(
    name="controllerrevisions",
    kind="ControllerRevision",
    type=apps.ControllerRevision,
    group="apps",
    check=_revision,
)
Checking = Callable[[Json, Json | None, Report], None]


def resources(templates: TemplateRules) -> tuple[Resource, ...]:
    """The rows of all workloads, for pods of which this is known."""
    return (
        _apps("deploy", apps.Deployment, templates, _deployment_filled, _deployment),
        _apps("rs", apps.ReplicaSet, templates, _replicas_filled, _replicas),
        _apps("sts", apps.StatefulSet, templates, _stateful_filled, _stateful),
        _controller_row(templates),
        _daemon_row(templates),
        _REVISIONS,
        job_row(templates),
        cron_job_row(templates),
    )


def _apps(
    short: str,
    kind: type[apps.Deployment | apps.ReplicaSet | apps.StatefulSet],
    templates: TemplateRules,
    fill: Callable[[Json], Json],
    check: Checking,
) -> Resource:
    def checked(one: Json, before: Json | None, report: Report) -> None:
        spec: Json = one.get("spec") or {}
        if not spec:
            report.required("spec")
            return
        template: Json = spec.get("template") or {}
        # The volumes that claims are made for are not in the template.
        templates.check(_with_claims(spec, template), "spec.template", report)
        if (template.get("spec") or {}).get("restartPolicy") not in (None, "Always"):
            report.unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ("Always",))
        _selected(spec, template, report)
        check(one, before, report)

    def filled(one: Json) -> Json:
        full = fill(one["spec"])
        return {**one, "spec": {**full, "template": templates.filled(full["template"])}}

    def warnings(one: Json) -> tuple[str, ...]:
        return (*templates.warnings(one["spec"]["template"], "spec.template.spec"), *_unused(one))

    return scaled(workload(kind, "apps", short=(short,), check=checked, defaults=filled, warnings=warnings))


def _unused(one: Json) -> list[str]:
    """What is its own in a workload and has no effect."""
    found: list[str] = []
    spec: Json = one["spec"]
    if spec.get("volumeClaimTemplates"):
        why = "a PersistentVolume of NFS (Amazon EFS is one) is there for each claim: nothing here makes volumes"
        found.append(f"spec.volumeClaimTemplates: its pods wait until {why}")
    kept: Json = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    if "Delete" in kept.values():
        found.append("spec.persistentVolumeClaimRetentionPolicy: it has no effect: claims are always retained")
    return found


def _controller_row(templates: TemplateRules) -> Resource:
    """Replication controllers: replica sets whose selector is a map of labels."""

    def check(one: Json, before: Json | None, report: Report) -> None:
        spec: Json = one.get("spec") or {}
        template: Json = spec.get("template") or {}
        templates.check(template, "spec.template", report)
        labels: Json = (template.get("metadata") or {}).get("labels") or {}
        selector: Json = spec.get("selector") or labels
        if not selector:
            report.required("spec.selector")
        elif not matches({"matchLabels": selector}, labels):
            report.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        if not report.causes:
            _replicas({**one, "spec": {**spec, "selector": selector}}, before, report)

    def filled(one: Json) -> Json:
        spec: Json = {"replicas": 1, **one["spec"]}
        template = templates.filled(spec["template"])
        selector = spec.get("selector") or template["metadata"]["labels"]
        return {**one, "spec": {**spec, "selector": selector, "template": template}}

    row = workload(
        core.ReplicationController,
        "",
        short=("rc",),
        check=check,
        defaults=filled,
        warnings=lambda one: templates.warnings(one["spec"]["template"], "spec.template.spec"),
    )
    return scaled(row)


def _daemon_row(templates: TemplateRules) -> Resource:
    """Daemon sets: there is no node for them, as in other clusters without nodes; so none is ever unavailable."""

    def check(one: Json, before: Json | None, report: Report) -> None:
        spec: Json = one.get("spec") or {}
        template: Json = spec.get("template") or {}
        templates.check(template, "spec.template", report)
        _selected(spec, template, report)
        if not report.causes:
            unchanged(one, before, ("selector",), report)

    def filled(one: Json) -> Json:
        rolling: Json = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
        spec: Json = {"revisionHistoryLimit": 10, "updateStrategy": rolling, **one["spec"]}
        return {**one, "spec": {**spec, "template": templates.filled(spec["template"])}}

    why = "there are no nodes to run one on each, every pod has a cell of its own; use a Deployment, or a sidecar"
    return workload(
        apps.DaemonSet,
        "apps",
        short=("ds",),
        check=check,
        defaults=filled,
        warnings=lambda _one: (f"this DaemonSet is kept, and runs no pod: {why}",),
    )


def _selected(spec: Json, template: Json, report: Report) -> None:
    selector = spec.get("selector")
    labels: Json = (template.get("metadata") or {}).get("labels") or {}
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        report.required("spec.selector")
        return
    for index, one in enumerate(selector.get("matchExpressions") or ()):
        field = f"spec.selector.matchExpressions[{index}]"
        if not one.get("key"):
            report.required(f"{field}.key")
        one_of("In", "NotIn", "Exists", "DoesNotExist")(one.get("operator", ""), f"{field}.operator", report)
    if not matches(selector, labels):
        report.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _replicas(one: Json, before: Json | None, report: Report) -> None:
    for name in ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        if one["spec"].get(name) is not None:
            COUNT(one["spec"][name], f"spec.{name}", report)
    unchanged(one, before, ("selector",), report)


def _deployment(one: Json, before: Json | None, report: Report) -> None:
    _replicas(one, before, report)
    strategy: Json = one["spec"].get("strategy") or {}
    one_of("Recreate", "RollingUpdate")(strategy.get("type") or "RollingUpdate", "spec.strategy.type", report)
    rolling: Json = strategy.get("rollingUpdate") or {}
    if rolling and strategy.get("type") == "Recreate":
        report.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    for name in ("maxSurge", "maxUnavailable"):
        _share(rolling.get(name), f"spec.strategy.rollingUpdate.{name}", report)
    if rolling.get("maxSurge") in (0, "0%") and rolling.get("maxUnavailable") in (0, "0%"):
        report.invalid("spec.strategy.rollingUpdate.maxUnavailable", 0, "may not be 0 when `maxSurge` is 0")


def _share(value: object, field: str, report: Report) -> None:
    percent = isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}%", value)
    if value is not None and not percent and not (isinstance(value, int) and value >= 0):
        report.invalid(field, value, "must be a whole number or a percentage")


def _stateful_strategy(spec: Json, report: Report) -> None:
    field = "spec.updateStrategy"
    strategy: Json = spec.get("updateStrategy") or {}
    one_of("RollingUpdate", "OnDelete")(strategy.get("type") or "RollingUpdate", f"{field}.type", report)
    rolling: Json = strategy.get("rollingUpdate") or {}
    if rolling and strategy.get("type") == "OnDelete":
        report.invalid(f"{field}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")
    if rolling.get("partition") is not None:
        COUNT(rolling["partition"], f"{field}.rollingUpdate.partition", report)
    _share(rolling.get("maxUnavailable"), f"{field}.rollingUpdate.maxUnavailable", report)
    if rolling.get("maxUnavailable") in (0, "0%"):
        report.invalid(f"{field}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], "cannot be 0")


def _stateful(one: Json, before: Json | None, report: Report) -> None:
    _replicas(one, before, report)
    unchanged(one, before, ("serviceName", "podManagementPolicy"), report)
    _stateful_strategy(one["spec"], report)
    for index, claim in enumerate(one["spec"].get("volumeClaimTemplates") or ()):
        dns_label(
            (claim.get("metadata") or {}).get("name"), f"spec.volumeClaimTemplates[{index}].metadata.name", report
        )
        check_claim(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{index}].spec", report)
    if before is not None:
        unchanged(_stateful_whole(one), before, ("volumeClaimTemplates",), report)
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


def _stateful_whole(one: Json) -> Json:
    return {**one, "spec": _stateful_filled(one["spec"])}


def _with_claims(spec: Json, template: Json) -> Json:
    names = [(one.get("metadata") or {}).get("name") for one in spec.get("volumeClaimTemplates") or ()]
    inner: Json | None = template.get("spec")
    if not names or inner is None:
        return template
    own = [one for one in inner.get("volumes") or () if one.get("name") not in names]
    claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]
    return {**template, "spec": {**inner, "volumes": [*own, *claimed]}}


def _stateful_filled(spec: Json) -> Json:
    full: Json = {"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady", **spec}
    strategy: Json = {"type": "RollingUpdate", **(full.get("updateStrategy") or {})}
    if strategy["type"] == "RollingUpdate":
        strategy["rollingUpdate"] = {"partition": 0, **(strategy.get("rollingUpdate") or {})}
    if claims := full.get("volumeClaimTemplates"):
        own = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        full["volumeClaimTemplates"] = [
            {**own, **one, "spec": {"volumeMode": "Filesystem", **one["spec"]}, "status": {"phase": "Pending"}}
            for one in claims
        ]
    return {**full, "updateStrategy": strategy}
