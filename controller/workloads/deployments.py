"""Deployments: replica sets that follow each other as the template changes. Pure, by Kubernetes' rules."""

from __future__ import annotations

import math
from collections.abc import Sequence

from controller.objects.fields import Json, copied
from controller.objects.timestamps import seconds_of
from controller.workloads.steps import (
    Create,
    Delete,
    Mark,
    Plan,
    ScaleReplicaSet,
    Step,
    Tell,
    condition,
    digest,
    earliest,
    owned,
    owner_reference,
)

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
# Of digits: anybody may write the annotation.
LONGEST_NUMBER = 19
_OWN = (REVISION, "kubectl.kubernetes.io/last-applied-configuration")


def plan(one: Json, replica_sets: Sequence[Json], now: float) -> Plan:
    """What to do for a deployment whose namespace holds these replica sets."""
    if one["metadata"].get("deletionTimestamp"):
        return Plan()
    spec = one["spec"]
    mine = sorted(owned(replica_sets, one), key=revision_of)
    new = next((each for each in mine if _template(each) == _bare(spec["template"])), None)
    old = [each for each in mine if each is not new]
    steps: list[Step] = []
    if not spec.get("paused"):
        if new is None:
            steps.append(Create("replicasets.apps", _made(one, mine)))
        else:
            steps += _revised(new, one, mine)
            steps += _rolled(spec, new, old)
            steps += _forgotten(spec, old)
    elif (held := new or _newest_active(old)) is not None and _sum(mine, "replicas") != int(spec["replicas"]):
        others = [each for each in mine if each is not held]
        steps += _scaled(held, max(0, int(spec["replicas"]) - _sum(others, "replicas")))
    status, again = _status(one, new, mine, now)
    for step in tuple(steps):
        if isinstance(step, ScaleReplicaSet) and not step.annotations:
            was = next(int(each["spec"].get("replicas", 0)) for each in mine if each["metadata"]["name"] == step.name)
            way = "up" if step.replicas > was else "down"
            said = f"Scaled {way} replica set {step.name} from {was} to {step.replicas}"
            steps.append(Tell("ScalingReplicaSet", said))
    return Plan(tuple(steps), status, again)


def _newest_active(sets: Sequence[Json]) -> Json | None:
    """The set that is scaled while a new template waits for the deployment to go on."""
    return next((each for each in reversed(sets) if each["spec"].get("replicas")), None)


def revision_of(one: Json) -> int:
    """The number of a replica set's template in its deployment's history, or of a deployment's own; 0 for none."""
    text = str((one["metadata"].get("annotations") or {}).get(REVISION, ""))
    return int(text) if text.isascii() and text.isdecimal() and len(text) < LONGEST_NUMBER else 0


def _bare(template: Json) -> Json:
    metadata: Json = template.get("metadata") or {}
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH}
    kept = {name: value for name, value in metadata.items() if name not in {"labels", "creationTimestamp"} and value}
    return {"metadata": {**kept, "labels": labels}, "spec": template["spec"]}


def _template(replica_set: Json) -> Json:
    return _bare(replica_set["spec"]["template"])


def _annotations(one: Json, revision: int) -> dict[str, str]:
    given: dict[str, str] = one["metadata"].get("annotations") or {}
    return {**{name: text for name, text in given.items() if name not in _OWN}, REVISION: str(revision)}


def _made(one: Json, mine: Sequence[Json]) -> Json:
    template = copied(one["spec"]["template"])
    name = digest(_bare(template))
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = name
    selector = copied(one["spec"]["selector"])
    selector.setdefault("matchLabels", {})[HASH] = name
    revision = max((revision_of(each) for each in mine), default=0) + 1
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{one['metadata']['name']}-{name}",
            "labels": template["metadata"]["labels"],
            "annotations": _annotations(one, revision),
            "ownerReferences": [owner_reference(one)],
        },
        "spec": {
            "replicas": 0,
            "selector": selector,
            "template": template,
            "minReadySeconds": int(one["spec"].get("minReadySeconds") or 0),
        },
    }


def _revised(new: Json, one: Json, mine: Sequence[Json]) -> list[Step]:
    """A template that is wanted again, by a rollback, is the newest revision."""
    latest = max(revision_of(each) for each in mine)
    number = revision_of(new) if revision_of(new) == latest else latest + 1
    # kubectl reads it to wait for a revision.
    steps: list[Step] = [] if revision_of(one) == number else [Mark(REVISION, str(number))]
    wanted = _annotations(one, number)
    if (new["metadata"].get("annotations") or {}) != wanted:
        steps.append(ScaleReplicaSet(new["metadata"]["name"], int(new["spec"].get("replicas", 0)), wanted))
    return steps


def _sum(sets: Sequence[Json], field: str) -> int:
    part = "spec" if field == "replicas" else "status"
    return sum(int((each.get(part) or {}).get(field) or 0) for each in sets)


def bounds(spec: Json) -> tuple[int, int]:
    """How many pods there may be above, and may be missing below, the wanted number while templates change."""
    rolling: Json = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    replicas = int(spec["replicas"])
    surge = share(rolling.get("maxSurge", "25%"), replicas, up=True)
    missing = share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return (surge, missing) if surge or missing else (0, 1)


def share(given: int | str, whole: int, *, up: bool) -> int:
    """A number, or a share of the whole in percent."""
    if isinstance(given, int):
        return given
    part = float(given.rstrip("%")) * whole / 100
    return math.ceil(part) if up else math.floor(part)


def _scaled(replica_set: Json, wanted: int) -> list[Step]:
    has = int(replica_set["spec"].get("replicas", 0))
    return [ScaleReplicaSet(replica_set["metadata"]["name"], wanted)] if has != wanted else []


def _rolled(spec: Json, new: Json, old: Sequence[Json]) -> list[Step]:
    wanted, has = int(spec["replicas"]), int(new["spec"].get("replicas", 0))
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        down = [step for each in old for step in _scaled(each, 0)]
        left = _sum(old, "replicas") + sum(int((each.get("status") or {}).get("replicas") or 0) for each in old)
        return down or ([] if left else _scaled(new, wanted))
    surge, missing = bounds(spec)
    total = has + _sum(old, "replicas")
    if has > wanted:
        return _scaled(new, wanted)
    if has < wanted and (room := wanted + surge - total) > 0:
        return _scaled(new, min(wanted, has + room))
    return _lowered(new, old, wanted - missing, total)


def _lowered(new: Json, old: Sequence[Json], least: int, total: int) -> list[Step]:
    """Make old replica sets smaller as far as enough pods are available; first those whose pods are not."""
    has = int(new["spec"].get("replicas", 0))
    spare = total - least - (has - _ready(new))
    steps: dict[str, int] = {}
    for each in old:
        size = int(each["spec"].get("replicas", 0))
        broken = min(size - _ready(each), spare)
        if broken > 0:
            steps[each["metadata"]["name"]] = size - broken
            spare -= broken
    spare = min(spare, _ready(new) + sum(_ready(each) for each in old) - least)
    for each in old:
        name = each["metadata"]["name"]
        size = steps.get(name, int(each["spec"].get("replicas", 0)))
        down = min(size, spare)
        if down > 0:
            steps[name] = size - down
            spare -= down
    return [ScaleReplicaSet(name, size) for name, size in steps.items()]


def _ready(replica_set: Json) -> int:
    size = int(replica_set["spec"].get("replicas", 0))
    return min(size, int((replica_set.get("status") or {}).get("availableReplicas") or 0))


def _forgotten(spec: Json, old: Sequence[Json]) -> list[Step]:
    limit = int(spec.get("revisionHistoryLimit", 10))
    empty = [
        each
        for each in old
        if not int(each["spec"].get("replicas", 0)) and not int((each.get("status") or {}).get("replicas") or 0)
    ]
    return [Delete("replicasets.apps", each["metadata"]["name"]) for each in empty[: max(0, len(empty) - limit)]]


def _status(one: Json, new: Json | None, mine: Sequence[Json], now: float) -> tuple[Json, float | None]:
    spec, before = one["spec"], one.get("status") or {}
    wanted = int(spec["replicas"])
    ready, there = _sum(mine, "readyReplicas"), _sum(mine, "availableReplicas")
    total = sum(int((each.get("status") or {}).get("replicas") or 0) for each in mine)
    updated = int(((new or {}).get("status") or {}).get("replicas") or 0)
    status: Json = {
        "observedGeneration": one["metadata"].get("generation", 1),
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": there,
        "unavailableReplicas": max(0, max(total, wanted) - there),
    }
    held: list[Json] = before.get("conditions") or []
    _, missing = bounds(spec)
    enough = there >= wanted - missing
    told = (
        (True, "MinimumReplicasAvailable", "Deployment has minimum availability.")
        if enough
        else (False, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    )
    progressing, again = _progress(one, new, status, before, now)
    conditions = [condition(held, "Available", told, now), *progressing]
    return {**status, "conditions": conditions}, again


def _progress(one: Json, new: Json | None, status: Json, before: Json, now: float) -> tuple[list[Json], float | None]:
    spec, held = one["spec"], before.get("conditions") or []
    old = next((each for each in held if each["type"] == "Progressing"), None)
    wanted = int(spec["replicas"])
    name = new["metadata"]["name"] if new is not None else ""
    done = status["updatedReplicas"] == status["replicas"] == status["availableReplicas"] == wanted
    if spec.get("paused"):
        return [condition(held, "Progressing", (None, "DeploymentPaused", "Deployment is paused"), now)], None
    if done and new is not None:
        said = f'ReplicaSet "{name}" has successfully progressed.'
        return [condition(held, "Progressing", (True, "NewReplicaSetAvailable", said), now)], None
    counted = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    moved = any(status.get(field) != before.get(field) for field in counted) or old is None
    since = now if moved or old is None else seconds_of(old.get("lastUpdateTime")) or now
    limit = since + int(spec.get("progressDeadlineSeconds", 600))
    if now >= limit or (old is not None and old.get("reason") == "ProgressDeadlineExceeded" and not moved):
        said = f'ReplicaSet "{name}" has timed out progressing.'
        return [condition(held, "Progressing", (False, "ProgressDeadlineExceeded", said), now)], None
    told = condition([], "Progressing", (True, "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'), since)
    if old is not None and old["status"] == "True":
        told = {**told, "lastTransitionTime": old["lastTransitionTime"]}
        if not moved:
            told = {**told, "lastUpdateTime": old["lastUpdateTime"]}
    return [told], earliest(limit)
