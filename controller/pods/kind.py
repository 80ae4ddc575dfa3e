"""Pods as a row of the table of kinds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from controller.objects import admission
from controller.objects.fields import Json, Report, copied
from controller.objects.resource import NAMED, STATUS, Resource, Subresource
from controller.objects.schema import pods
from controller.pods import changes, spec, without_effect
from controller.pods.defaults import with_defaults

_SESSION = ("create", "get")


def _check(one: Json, before: Json | None, report: Report) -> None:
    spec.check(one, report)
    report.overlook_spec(one, before)
    if before is not None and not report.causes:
        changes.check(before, one, report)


def _defaults(one: Json) -> Json:
    status = {"status": one["status"]} if "status" in one else {}
    return {**with_defaults(copied(one)), **status}


def _warnings(one: Json) -> Sequence[str]:
    return tuple(without_effect.sentences(one["spec"])) if not one.get("status") else ()


def _change_warnings(before: Json, after: Json) -> Sequence[str]:
    given, there = after["spec"].get("nodeName"), before["spec"].get("nodeName")
    if not given or given == there:
        return ()
    return (f"spec.nodeName: it has no effect: {without_effect.FIELDS['nodeName']}",)


PODS = Resource(
    name="pods",
    kind="Pod",
    type=pods.Pod,
    short=("po",),
    categories=("all",),
    check=_check,
    defaults=_defaults,
    warnings=_warnings,
    change_warnings=_change_warnings,
    selectable=(
        *NAMED,
        *("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName"),
        *("status.phase", "status.podIP"),
    ),
    subresources=(
        Subresource("attach", "PodAttachOptions", _SESSION),
        Subresource("ephemeralcontainers", "Pod", STATUS),
        Subresource("eviction", "Eviction", ("create",), "policy"),
        Subresource("exec", "PodExecOptions", _SESSION),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", _SESSION),
        Subresource("proxy", "PodProxyOptions", ("create", "delete", "get", "patch", "update")),
        Subresource("status", "Pod", ("get",)),
    ),
)


class PodTemplates:
    """What workloads must know of the pods that they make."""

    def check(self, template: Json, field: str, report: Report) -> None:
        """Report all for which pods of this template could not be run."""
        spec.check_template(template, field, report)

    def filled(self, template: Json) -> Json:
        """The template with the defaults of a pod."""
        full = with_defaults({"metadata": {}, "spec": copied(template["spec"])})
        return {**template, "metadata": template.get("metadata") or {}, "spec": full["spec"]}

    def warnings(self, template: Json, field: str) -> Sequence[str]:
        """A sentence for each thing in it that has no effect."""
        metadata, at = template.get("metadata") or {}, f"{field.removesuffix('spec')}metadata"
        return (*admission.misplaced(PODS, metadata, at), *without_effect.sentences(template["spec"], field))
