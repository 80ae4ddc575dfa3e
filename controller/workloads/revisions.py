"""Controller revisions: earlier templates of a stateful set, by Kubernetes' rules. Pure.

Each is named after its template, so the same template finds the revision that it had; the newest number is in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from controller.objects.fields import Json, copied
from controller.workloads.steps import Create, Delete, Renumber, Step, digest, owner_reference

KEY, HASH = "controllerrevisions.apps", "controller.kubernetes.io/hash"


class Revisions(NamedTuple):
    """The templates of a stateful set: of the newest revision and of the one that it comes from."""

    update: str
    current: str
    templates: dict[str, Json]
    steps: tuple[Step, ...]

    def template(self, name: str) -> Json:
        """The template of a revision; the newest where that one is not known (any more)."""
        return self.templates.get(name) or self.templates[self.update]


def revisions(one: Json, kept: Sequence[Json]) -> Revisions:
    """The revisions of a stateful set of which these are kept, and the steps by which the newest is one of them."""
    template: Json = one["spec"]["template"]
    update = f"{one['metadata']['name']}-{digest(template)}"
    by_name = {revision["metadata"]["name"]: revision for revision in kept}
    newest = max((_number(revision) for revision in kept), default=0)
    steps: tuple[Step, ...] = ()
    if update not in by_name:
        steps = (Create(KEY, _revision(one, update, newest + 1)),)
    elif _number(by_name[update]) < newest:
        steps = (Renumber(update, newest + 1),)
    templates: dict[str, Json] = {
        name: {key: value for key, value in revision["data"]["spec"]["template"].items() if key != "$patch"}
        for name, revision in by_name.items()
    }
    templates[update] = template
    before = (one.get("status") or {}).get("currentRevision") or update
    return Revisions(update, before if before in templates else update, templates, steps)


def outlived(one: Json, kept: Sequence[Json], in_use: Iterable[str]) -> list[Step]:
    """Deletions of the oldest revisions beyond the history's limit that nothing is made of any more."""
    using = set(in_use)
    unused = sorted((each for each in kept if each["metadata"]["name"] not in using), key=_number)
    limit = one["spec"].get("revisionHistoryLimit")
    beyond = len(unused) - (10 if limit is None else int(limit))
    return [Delete(KEY, each["metadata"]["name"]) for each in unused[: max(beyond, 0)]]


def _number(revision: Json) -> int:
    return int(revision.get("revision") or 0)


def _revision(one: Json, name: str, number: int) -> Json:
    template = copied(one["spec"]["template"])
    labels: Json = (template.get("metadata") or {}).get("labels") or {}
    metadata: Json = {
        "name": name,
        "labels": {**labels, HASH: name.rpartition("-")[2]},
        "annotations": one["metadata"].get("annotations") or {},
        "ownerReferences": [owner_reference(one)],
    }
    data: Json = {"spec": {"template": {**template, "$patch": "replace"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": data,
        "revision": number,
    }
