"""Which changes of a pod are possible: as in Kubernetes, each forbidden one by the name of its field. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controller.choice.requirements import PREFIX, SHOWN
from controller.objects.fields import Json, Report, copied
from controller.pods.defaults import with_defaults

_ALLOWED = (
    "it cannot change in a pod that is there; what can: the image of a container, activeDeadlineSeconds (to less), "
    "more tolerations, labels and annotations"
)
_CHOSEN = "it chose the pod's cell and cannot change any more; delete the pod and create it anew"
KEYED = {"containers": "name", "initContainers": "name", "ephemeralContainers": "name", "volumes": "name"}


def check(before: Json, after: Json, report: Report) -> None:
    """Report each change that is not possible."""
    same = before["spec"] == after["spec"]
    was, new = ({}, {}) if same else (filled(before["spec"]), filled(after["spec"]))
    for path in differences(was, new, "spec"):
        if path.endswith(".image") and path.startswith(("spec.containers[", "spec.initContainers[")):
            continue
        match path:
            case "spec.activeDeadlineSeconds":
                _deadline(was.get("activeDeadlineSeconds"), new.get("activeDeadlineSeconds"), report)
            case "spec.tolerations":
                if any(one not in (new.get("tolerations") or ()) for one in was.get("tolerations") or ()):
                    report.forbidden(path, "existing tolerations cannot change or go, only new ones be added")
            case "spec.ephemeralContainers":
                report.forbidden(path, "they change through the subresource ephemeralcontainers only (kubectl debug)")
            case "spec.nodeName":
                continue
            case _:
                report.forbidden(path, _ALLOWED)
    old: Json = before["metadata"].get("annotations") or {}
    now: Json = after["metadata"].get("annotations") or {}
    for name in sorted({*old, *now}):
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in SHOWN and old.get(name) != now.get(name):
            report.forbidden(f"metadata.annotations[{name}]", _CHOSEN)


def _deadline(was: int | None, new: int | None, report: Report) -> None:
    if new is None or (was is not None and new > was):
        report.forbidden("spec.activeDeadlineSeconds", "it can be set, or become less, and nothing else")


def filled(spec: Json) -> Json:
    """The spec with its defaults, for comparison."""
    return with_defaults({"metadata": {}, "spec": copied(spec)})["spec"]


def differences(was: Any, new: Any, path: str) -> Iterator[str]:
    """The paths at which two values differ, as deep as both have the same form."""
    if was == new or (_empty(was) and _empty(new)):
        return
    if isinstance(was, dict) and isinstance(new, dict):
        for name in sorted({*was, *new}):
            yield from differences(was.get(name), new.get(name), f"{path}.{name}")
    elif isinstance(was, list) and isinstance(new, list) and _same_members(was, new, path.rpartition(".")[2]):
        for index, (one, other) in enumerate(zip(was, new, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    else:
        yield path


def _empty(value: object) -> bool:
    return value in (None, "", [], {}, False)


def _same_members(was: list[Any], new: list[Any], name: str) -> bool:
    key = KEYED.get(name)
    return bool(key) and len(was) == len(new) and [one[key] for one in was] == [one[key] for one in new]
