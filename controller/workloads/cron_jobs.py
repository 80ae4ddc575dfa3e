"""Cron jobs: a job at each moment of a schedule. Pure, by Kubernetes' rules."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from controller.objects.fields import Json, copied
from controller.objects.timestamps import seconds_of, timestamp
from controller.workloads import schedule
from controller.workloads.jobs import ended
from controller.workloads.steps import Create, Delete, Plan, Step, Tell, earliest, owned, owner_reference

# More missed moments than this are a mistake of a clock, or a long absence: none of them is made up for.
MOST_MISSED = 100
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def plan(one: Json, jobs: Sequence[Json], now: float) -> Plan:
    """What to do for a cron job whose namespace holds these jobs."""
    if one["metadata"].get("deletionTimestamp"):
        return Plan()
    spec, before = one["spec"], one.get("status") or {}
    mine = owned(jobs, one)
    running = [job for job in mine if ended(job) is None]
    steps: list[Step] = [*_history(spec, mine)]
    status = {**_kept(before), "active": [_reference(job) for job in running]}
    done = [seconds_of((job.get("status") or {}).get("completionTime")) for job in mine]
    if last := max([at for at in done if at], default=None):
        status["lastSuccessfulTime"] = timestamp(max(last, seconds_of(before.get("lastSuccessfulTime")) or 0.0))
    if spec.get("suspend"):
        return Plan(tuple(steps), status)
    read, where = schedule.parsed(spec["schedule"]), schedule.zone(spec.get("timeZone"))
    since = seconds_of(before.get("lastScheduleTime")) or seconds_of(one["metadata"]["creationTimestamp"]) or now
    limit = spec.get("startingDeadlineSeconds")
    if limit is not None:
        since = max(since, now - int(limit))
    due, missed, coming = _missed(read, since, now, where)
    if due is None:
        return Plan(tuple(steps), status, coming)
    if missed > MOST_MISSED:
        said = f"too many missed start times ({missed}); one is made up for"
        steps.append(Tell("TooManyMissedTimes", said, warning=True))
    policy = spec.get("concurrencyPolicy", "Allow")
    name = f"{one['metadata']['name']}-{int(due) // 60}"
    if any(job["metadata"]["name"] == name for job in mine):
        return Plan(tuple(steps), {**status, "lastScheduleTime": timestamp(due)}, coming)
    if policy == "Forbid" and running:
        said = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return Plan((*steps, Tell("JobAlreadyActive", said)), status, earliest(coming))
    if policy == "Replace":
        steps += [Delete("jobs.batch", job["metadata"]["name"]) for job in running]
    steps += [Create("jobs.batch", _job(one, name, due)), Tell("SuccessfulCreate", f"Created job {name}")]
    return Plan(tuple(steps), {**status, "lastScheduleTime": timestamp(due)}, coming)


def _missed(
    read: schedule.Schedule, since: float, now: float, zone: datetime.tzinfo
) -> tuple[float | None, int, float | None]:
    """The last moment that was due, how many were, and the next one."""
    due, missed = None, 0
    coming = schedule.following(read, since, zone)
    while coming is not None and coming <= now:
        due, missed = coming, missed + 1
        coming = schedule.following(read, coming if missed <= MOST_MISSED else max(coming, now - 61), zone)
    return due, missed, coming


def _kept(before: Json) -> Json:
    return {name: before[name] for name in ("lastScheduleTime", "lastSuccessfulTime") if name in before}


def _reference(job: Json) -> Json:
    metadata = job["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        **{name: metadata[name] for name in ("name", "namespace", "uid")},
    }


def _job(one: Json, name: str, due: float) -> Json:
    template = copied(one["spec"]["jobTemplate"])
    metadata: Json = template.get("metadata") or {}
    zone = one["spec"].get("timeZone")
    told = datetime.datetime.fromtimestamp(due, schedule.zone(zone)).isoformat() if zone else timestamp(due)
    annotations = {**(metadata.get("annotations") or {}), SCHEDULED: told}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": metadata.get("labels") or {},
            "annotations": annotations,
            "ownerReferences": [owner_reference(one)],
        },
        "spec": template["spec"],
    }


def _history(spec: Json, mine: Sequence[Json]) -> list[Step]:
    steps: list[Step] = []
    for kind, field, usual in (("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)):
        over = [job for job in mine if (how := ended(job)) is not None and how["type"] == kind]
        over.sort(key=lambda job: (job.get("status") or {}).get("startTime") or "")
        limit = spec.get(field)
        steps += [
            Delete("jobs.batch", job["metadata"]["name"])
            for job in over[: max(0, len(over) - (usual if limit is None else int(limit)))]
        ]
    return steps
