"""Fields of a pod that change nothing here, since each pod has a cell of its own: said aloud, never in silence.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.objects.fields import Json

_ALONE = "every pod gets a cell of its own, so there is nothing to choose among"
# Field of the spec → why it has no effect.
FIELDS: Mapping[str, str] = {
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


def sentences(spec: Json, at: str = "spec") -> Iterator[str]:
    """A sentence for each thing that the spec says without effect; `at` is where the spec is."""
    for field, why in FIELDS.items():
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
