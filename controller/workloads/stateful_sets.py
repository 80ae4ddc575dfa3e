"""Stateful sets: numbered pods that come and go in order. Pure, by Kubernetes' rules; claims are kept."""

from __future__ import annotations

from collections.abc import Sequence

from controller.objects.fields import Json
from controller.workloads.steps import (
    BURST,
    Create,
    Delete,
    Plan,
    Step,
    active,
    available,
    digest,
    earliest,
    from_template,
    going,
    owned,
    phase,
    ready_since,
)

REVISION = "controller-revision-hash"
NAME, INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


def plan(one: Json, pods: Sequence[Json], now: float) -> Plan:
    """What to do for a stateful set whose namespace holds these pods."""
    if one["metadata"].get("deletionTimestamp"):
        return Plan()
    spec = one["spec"]
    first = int((spec.get("ordinals") or {}).get("start") or 0)
    wanted = range(first, first + int(spec.get("replicas", 1)))
    revision = f"{one['metadata']['name']}-{digest(spec['template'])}"
    mine = {ordinal_of(pod): pod for pod in owned(pods, one)}
    least = int(spec.get("minReadySeconds") or 0)
    seen = {ordinal: available(pod, least, now) for ordinal, pod in mine.items()}
    steps = _steps(one, mine, wanted, revision, {ordinal for ordinal, (there, _) in seen.items() if there})
    running = [pod for pod in mine.values() if active(pod)]
    updated = [pod for pod in running if _revision(pod) == revision]
    before: Json = one.get("status") or {}
    done = len(updated) == len(wanted) == len(running)
    status: Json = {
        "observedGeneration": one["metadata"].get("generation", 1),
        "replicas": len(running),
        "readyReplicas": sum(ready_since(pod) is not None for pod in running),
        "availableReplicas": sum(there for there, _ in seen.values()),
        "currentReplicas": len(updated) if done else len(running) - len(updated),
        "updatedReplicas": len(updated),
        "updateRevision": revision,
        "currentRevision": revision if done else before.get("currentRevision") or revision,
        "collisionCount": 0,
    }
    return Plan(tuple(steps), status, earliest(*(at for _, at in seen.values())))


def ordinal_of(pod: Json) -> int:
    """The number of a pod."""
    text = pod["metadata"]["name"].rpartition("-")[2]
    return int(text) if text.isdigit() else -1


def _revision(pod: Json) -> str:
    return (pod["metadata"].get("labels") or {}).get(REVISION, "")


def _steps(one: Json, mine: dict[int, Json], wanted: range, revision: str, there: set[int]) -> list[Step]:
    ordered = one["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel"
    steps: list[Step] = []
    for ordinal in wanted:
        pod = mine.get(ordinal)
        if pod is None:
            steps += [Create("persistentvolumeclaims", claim) for claim in _claims(one, ordinal)]
            steps.append(Create("pods", _pod(one, ordinal, revision)))
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
    return steps or _renewed(one, mine, wanted, revision, there)


def _renewed(one: Json, mine: dict[int, Json], wanted: range, revision: str, there: set[int]) -> list[Step]:
    """From the last one down, one at a time, each pod of an older template gives way to one of the newest."""
    strategy: Json = one["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return []
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    for ordinal in reversed(wanted):
        if ordinal < partition:
            return []
        pod = mine.get(ordinal)
        if pod is None or going(pod):
            return []
        if _revision(pod) != revision:
            return [Delete("pods", pod["metadata"]["name"])]
        if ordinal not in there:
            return []
    return []


def _pod(one: Json, ordinal: int, revision: str) -> Json:
    name = f"{one['metadata']['name']}-{ordinal}"
    pod = from_template(one, one["spec"]["template"], name)
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
