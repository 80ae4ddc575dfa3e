"""Stateful sets: numbered pods that come and go in order. Pure, by Kubernetes' rules; claims are kept.

Earlier templates are kept as controller revisions. Each is named after its template, so the same template finds the
revision that it had; the newest number is in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from controller.objects.fields import Json, copied
from controller.workloads.steps import (
    BURST,
    Create,
    Delete,
    Plan,
    Renumber,
    Step,
    active,
    available,
    digest,
    earliest,
    from_template,
    going,
    owner_reference,
    phase,
    ready_since,
)

REVISION = "controller-revision-hash"
REVISION_KIND, HASH = "controllerrevisions.apps", "controller.kubernetes.io/hash"
NAME, INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


def plan(one: Json, owned: Sequence[Json], now: float) -> Plan:
    """What to do for a stateful set that owns these pods and controller revisions."""
    if one["metadata"].get("deletionTimestamp"):
        return Plan()
    spec = one["spec"]
    kept = [each for each in owned if each["kind"] == "ControllerRevision"]
    mine = {ordinal_of(pod): pod for pod in owned if pod["kind"] == "Pod"}
    known = revisions(one, kept)
    first = int((spec.get("ordinals") or {}).get("start") or 0)
    wanted = range(first, first + int(spec.get("replicas", 1)))
    least = int(spec.get("minReadySeconds") or 0)
    seen = {ordinal: available(pod, least, now) for ordinal, pod in mine.items()}
    steps = _steps(one, mine, wanted, known, {ordinal for ordinal, (there, _) in seen.items() if there})
    in_use = {known.update, known.current, *map(_revision, mine.values())}
    status = _status(one, list(mine.values()), known, available=sum(there for there, _ in seen.values()))
    ends = outlived(one, kept, in_use) if not known.steps else ()
    return Plan((*known.steps, *steps, *ends), status, earliest(*(at for _, at in seen.values())))


def _status(one: Json, pods: Sequence[Json], known: Revisions, available: int) -> Json:
    there = [pod for pod in pods if not going(pod)]
    updated = sum(_revision(pod) == known.update for pod in there)
    ready = sum(ready_since(pod) is not None for pod in pods if active(pod))
    renewed = updated == int(one["spec"].get("replicas", 1)) == ready and _rolling(one)
    return {
        "observedGeneration": one["metadata"].get("generation", 1),
        "replicas": len([pod for pod in pods if active(pod)]),
        "readyReplicas": ready,
        "availableReplicas": available,
        "currentReplicas": updated if renewed else sum(_revision(pod) == known.current for pod in there),
        "updatedReplicas": updated,
        "updateRevision": known.update,
        "currentRevision": known.update if renewed else known.current,
        "collisionCount": 0,
    }


def ordinal_of(pod: Json) -> int:
    """The number of a pod."""
    text = pod["metadata"]["name"].rpartition("-")[2]
    return int(text) if text.isdigit() else -1


def _revision(pod: Json) -> str:
    return (pod["metadata"].get("labels") or {}).get(REVISION, "")


def _rolling(one: Json) -> bool:
    return (one["spec"].get("updateStrategy") or {}).get("type") != "OnDelete"


def _partition(one: Json) -> int:
    """How many pods, from the first one on, keep the template that they have."""
    rolling: Json = (one["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return int(rolling.get("partition") or 0)


def _steps(one: Json, mine: dict[int, Json], wanted: range, known: Revisions, there: set[int]) -> list[Step]:
    ordered = one["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel"
    steps: list[Step] = []
    for ordinal in wanted:
        pod = mine.get(ordinal)
        if pod is None:
            steps += [Create("persistentvolumeclaims", claim) for claim in _claims(one, ordinal)]
            held = _rolling(one) and ordinal - wanted.start < _partition(one)
            steps.append(Create("pods", _pod(one, ordinal, known, known.current if held else known.update)))
            if len(steps) >= BURST:
                break  # what was made brings the next pass
        elif phase(pod) in {"Succeeded", "Failed"} and not going(pod):
            steps.append(Delete("pods", pod["metadata"]["name"]))
        elif ordinal in there:
            continue
        if ordered:
            return steps  # the next one waits for this one
    leaving = sorted((ordinal for ordinal in mine if ordinal not in wanted), reverse=True)
    for ordinal in leaving:
        if not going(mine[ordinal]):
            steps.append(Delete("pods", mine[ordinal]["metadata"]["name"]))
        if ordered:
            return steps
    return steps or _renewed(one, mine, wanted, known.update, there)


def _renewed(one: Json, mine: dict[int, Json], wanted: range, revision: str, there: set[int]) -> list[Step]:
    """From the last one down, a few at a time, pods of an older template give way to ones of the newest."""
    steps: list[Step] = []
    if not _rolling(one):
        return steps
    missing, most = 0, _most_missing(one)
    for ordinal in reversed(wanted[_partition(one) :]):
        pod = mine.get(ordinal)
        stale = pod is not None and not going(pod) and _revision(pod) != revision
        if stale and pod is not None:
            steps.append(Delete("pods", pod["metadata"]["name"]))
        missing += stale or ordinal not in there
        if missing >= most:
            break
    return steps


def _most_missing(one: Json) -> int:
    """How many pods may be unavailable while they are renewed."""
    rolling: Json = (one["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    most = rolling.get("maxUnavailable", 1)
    if isinstance(most, str):
        most = int(one["spec"].get("replicas", 1)) * int(most.removesuffix("%")) // 100
    return max(int(most), 1)


def _pod(one: Json, ordinal: int, known: Revisions, revision: str) -> Json:
    name = f"{one['metadata']['name']}-{ordinal}"
    pod = from_template(one, known.template(revision), name)
    own = {NAME: name, INDEX: str(ordinal), REVISION: revision}
    pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), **own}
    pod["spec"]["hostname"] = name
    if service := one["spec"].get("serviceName"):
        pod["spec"].setdefault("subdomain", service)
    claims = [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates") or ()]
    if claims:
        own = [volume for volume in pod["spec"].get("volumes") or () if volume["name"] not in claims]
        claimed = [{"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}} for claim in claims]
        pod["spec"]["volumes"] = [*own, *claimed]
    return pod


def _claims(one: Json, ordinal: int) -> list[Json]:
    """The claims of one pod, which are there already where it was there before."""
    found: list[Json] = []
    for template in one["spec"].get("volumeClaimTemplates") or ():
        metadata: Json = template["metadata"]
        name = f"{metadata['name']}-{one['metadata']['name']}-{ordinal}"
        labels = {**(metadata.get("labels") or {}), **((one["spec"].get("selector") or {}).get("matchLabels") or {})}
        own = {"name": name, "labels": labels, "annotations": metadata.get("annotations") or {}}
        kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        found.append({**kind, "metadata": own, "spec": template["spec"]})
    return found


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
        steps = (Create(REVISION_KIND, _new_revision(one, update, newest + 1)),)
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
    return [Delete(REVISION_KIND, each["metadata"]["name"]) for each in unused[: max(beyond, 0)]]


def _number(revision: Json) -> int:
    return int(revision.get("revision") or 0)


def _new_revision(one: Json, name: str, number: int) -> Json:
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
