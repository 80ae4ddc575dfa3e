"""Pods as a row of the table of kinds. Pure.

What they ask for that changes nothing here, since each has a cell of its own, is said aloud, never in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from controller.objects import admission
from controller.objects.fields import Json, Report, copied
from controller.objects.resource import NAMED, STATUS, Resource, Subresource
from controller.objects.schema import pods
from controller.pods import changes, spec
from controller.pods.defaults import with_defaults

_SESSION = ("create", "get")
_ALONE = "every pod gets a cell of its own, so there is nothing to choose among"
# Field of the spec → why it has no effect.
NO_EFFECT: Mapping[str, str] = {
    "affinity": f"{_ALONE}; choose the cell by chinampa.dev annotations or kubernetes.io/arch in the node selector",
    "priority": "no pod has to give way to another one",
    "priorityClassName": "no pod has to give way to another one",
    "preemptionPolicy": "no pod has to give way to another one",
    "topologySpreadConstraints": f"{_ALONE}; chinampa.dev/zone names zones",
    "runtimeClassName": "there is one runtime, and it has a machine of its own for each pod",
    "nodeName": "the cell is made for the pod",
}
SELECTED = frozenset({"kubernetes.io/arch", "beta.kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/os"})
_NO_SELINUX = "seLinuxOptions: it has no effect on a cell whose machine image runs without SELinux"
_DEFAULTS = {"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}


def _check(one: Json, before: Json | None, report: Report) -> None:
    spec.check(one, report)
    report.overlook_spec(one, before)
    if before is not None and not report.causes:
        changes.check(before, one, report)


def _defaults(one: Json) -> Json:
    status = {"status": one["status"]} if "status" in one else {}
    return {**with_defaults(copied(one)), **status}


def _warnings(one: Json) -> Sequence[str]:
    return tuple(without_effect(one["spec"])) if not one.get("status") else ()


def _change_warnings(before: Json, after: Json) -> Sequence[str]:
    given, there = after["spec"].get("nodeName"), before["spec"].get("nodeName")
    if not given or given == there:
        return ()
    return (f"spec.nodeName: it has no effect: {NO_EFFECT['nodeName']}",)


def without_effect(spec: Json, at: str = "spec") -> Iterator[str]:
    """A sentence for each thing that the spec says without effect; `at` is where the spec is."""
    for field, why in NO_EFFECT.items():
        given = spec.get(field)
        if given not in (None, "", [], {}, False) and given != _DEFAULTS.get(field):
            yield f"{at}.{field}: it has no effect: {why}"
    if spec.get("schedulerName") not in (None, "", "default-scheduler"):
        yield f"{at}.schedulerName: it has no effect: {_ALONE}"
    for label in spec.get("nodeSelector") or {}:
        if label not in SELECTED:
            yield f'{at}.nodeSelector["{label}"]: it has no effect: {_ALONE}; chinampa.dev annotations choose the cell'
    if (spec.get("securityContext") or {}).get("seLinuxOptions"):
        yield f"{at}.securityContext.{_NO_SELINUX}"
    yield from _of_volumes(spec, at)
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield from _of_container(container, f"{at}.{kind}[{index}]")


def _of_volumes(spec: Json, at: str) -> Iterator[str]:
    for index, volume in enumerate(spec.get("volumes") or ()):
        if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            why = f'the pod waits until the claim "{claim}" is bound to a PersistentVolume: nothing here makes volumes'
            yield f"{at}.volumes[{index}].persistentVolumeClaim: {why}"


def _of_container(container: Json, at: str) -> Iterator[str]:
    if container.get("resizePolicy"):
        yield f"{at}.resizePolicy: it has no effect: a cell does not change its size"
    if (container.get("securityContext") or {}).get("seLinuxOptions"):
        yield f"{at}.securityContext.{_NO_SELINUX}"


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
        return (*admission.misplaced(PODS, metadata, at), *without_effect(template["spec"], field))
