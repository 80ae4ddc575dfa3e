"""Scenarios of Jobs and CronJobs: queues of work, indexes given up, disruptions, policies of concurrency, zones."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.semantics.making import CRON, JOBS, job, template
from tests.semantics.planes import Json
from tests.semantics.player import Player, now

INDEX = "batch.kubernetes.io/job-completion-index"


async def works_off_a_queue(it: Player) -> None:
    """No number of completions: once one part has succeeded none is begun, and the end is that of the last."""
    made = job("queue", parallelism=2)
    await it.create(JOBS, made)
    first, second = await it.count("queue", 2)
    await it.ended(first)
    await it.status(JOBS, "queue", succeeded=1, active=1)
    await it.count("queue", 1)
    await it.ended(second)
    await it.condition(JOBS, "queue", "Complete")
    await it.status(JOBS, "queue", succeeded=2, active=0)


async def is_made_wider_and_narrower(it: Player) -> None:
    await it.create(JOBS, job("width", completions=10, parallelism=1))
    await it.count("width", 1)
    await it.spec(JOBS, "width", parallelism=3)
    await it.count("width", 3)
    await it.spec(JOBS, "width", parallelism=0)
    await it.count("width", 0)
    await it.status(JOBS, "width", active=0, succeeded=0, failed=0)


async def tries_an_index_again_and_fails_it_by_its_code(it: Player) -> None:
    rules = [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]
    spec: Json = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 3}
    await it.create(JOBS, job("failindex", podFailurePolicy={"rules": rules}, **spec))
    pods = {pod["metadata"]["annotations"][INDEX]: pod for pod in await it.count("failindex", 2)}
    await it.ended(pods["1"], 42)
    await it.status(JOBS, "failindex", failedIndexes="1", active=1)
    await it.ended(pods["0"])
    await it.condition(JOBS, "failindex", "Failed", reason="FailedIndexes")


async def gives_up_after_too_many_indexes(it: Player) -> None:
    spec: Json = {"completions": 4, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0}
    await it.create(JOBS, job("toomany", maxFailedIndexes=1, **spec))
    pods = await it.count("toomany", 3)
    await it.ended(pods[0], 1)
    await it.status(JOBS, "toomany", failedIndexes="0")
    await it.ended(next(pod for pod in pods if pod["metadata"]["annotations"][INDEX] == "1"), 1)
    told = await it.condition(JOBS, "toomany", "Failed", reason="MaxFailedIndexesExceeded")
    assert told["message"] == "Job has exceeded the specified maximal number of failed indexes"
    await it.count("toomany", 0)


async def succeeds_by_its_policy(it: Player) -> None:
    rules = [{"succeededIndexes": "2"}, {"succeededIndexes": "0-1", "succeededCount": 1}]
    spec: Json = {"completions": 3, "parallelism": 3, "completionMode": "Indexed"}
    await it.create(JOBS, job("leader", successPolicy={"rules": rules}, **spec))
    pods = {pod["metadata"]["annotations"][INDEX]: pod for pod in await it.count("leader", 3)}
    await it.ended(pods["1"])
    told = await it.condition(JOBS, "leader", "SuccessCriteriaMet", reason="SuccessPolicy")
    assert told["message"] == "Matched rules at index 1"
    await it.count("leader", 0)
    await it.condition(JOBS, "leader", "Complete", reason="SuccessPolicy")
    await it.status(JOBS, "leader", succeeded=1, completedIndexes="1", active=0)


async def passes_over_a_disruption(it: Player) -> None:
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    await it.create(JOBS, job("evicted", backoffLimit=0, podFailurePolicy={"rules": rules}))
    (pod,) = await it.count("evicted", 1)
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "Interrupted", "lastTransitionTime": now()}
    await it.plane.tell(pod["metadata"]["name"], {"phase": "Failed", "startTime": now(), "conditions": [condition]})
    (again,) = await it.count("evicted", 1)
    assert again["metadata"]["uid"] != pod["metadata"]["uid"]
    await it.ended(again)
    await it.condition(JOBS, "evicted", "Complete")
    await it.status(JOBS, "evicted", failed=0, succeeded=1)


def cron(name: str, schedule: str = "* * * * *", **spec: Any) -> Json:
    inner = {"template": template(name, restart="Never")}
    full = {"schedule": schedule, "jobTemplate": {"spec": inner}, **spec}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": full}


async def jobs_of(it: Player, name: str) -> list[Json]:
    """The jobs that a CronJob has made, or was given."""
    listed = await it.plane.list(JOBS)
    owners = [(one, one["metadata"].get("ownerReferences") or [{}]) for one in listed]
    return [one for one, (owner, *_) in owners if (owner.get("kind"), owner.get("name")) == ("CronJob", name)]


async def gives_its_job_to_the_next_minute(it: Player) -> None:
    """Replace: what still runs at the next full minute makes room; beside it one that is suspended makes nothing."""
    await it.create(CRON, cron("replaces", concurrencyPolicy="Replace"))
    await it.create(CRON, cron("rests", suspend=True))
    (first,) = await it.until("a job at the full minute", lambda: jobs_of(it, "replaces"), 150)

    async def another() -> bool:
        return [one["metadata"]["uid"] for one in await jobs_of(it, "replaces")] not in ([], [first["metadata"]["uid"]])

    await it.until("another job instead", another, 150)
    await it.gone(JOBS, first["metadata"]["name"])
    assert not await jobs_of(it, "rests")
    await it.plane.delete(CRON, "replaces")


async def goes_by_the_clock_of_its_zone(it: Player) -> None:
    """Due at the second full minute from now of a zone; by the clock of UTC it would be hours away."""
    zone = ZoneInfo("Asia/Kathmandu")
    # A full minute is left to create it; whoever is later than that is due tomorrow.
    due = datetime.fromtimestamp(time.time() + 120, UTC).replace(second=0, microsecond=0)
    there = due.astimezone(zone)
    await it.create(CRON, cron("zoned", f"{there.minute} {there.hour} * * *", timeZone="Asia/Kathmandu"))
    (made,) = await it.until("a job at the minute", lambda: jobs_of(it, "zoned"), 210)
    assert made["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] == there.isoformat()


async def keeps_so_much_history(it: Player) -> None:
    await it.create(CRON, cron("past", "0 0 1 1 *", successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0))
    one = await it.until("the CronJob", lambda: it.find(CRON, "past"))
    own = {"apiVersion": "batch/v1", "kind": "CronJob", "controller": True, "blockOwnerDeletion": True}
    reference = {**own, "name": "past", "uid": one["metadata"]["uid"]}
    for number, code in enumerate((0, 0, 1)):
        made = job(f"past-{number}", backoffLimit=0)
        made["metadata"]["ownerReferences"] = [reference]
        await it.create(JOBS, made)
        (pod,) = await it.count(f"past-{number}", 1)
        await it.ended(pod, code)
        await it.until(f"the end of past-{number}", lambda name=f"past-{number}": _over(it, name))

    async def left() -> bool:
        return [each["metadata"]["name"] for each in await jobs_of(it, "past")] == ["past-1"]

    await it.until("the last success alone", left)


async def _over(it: Player, name: str) -> bool:
    """Whether a job has ended, or has gone already."""
    one = await it.find(JOBS, name)
    conditions = ((one or {}).get("status") or {}).get("conditions") or []
    return one is None or any(each["type"] in {"Complete", "Failed"} for each in conditions)


SCENARIOS = (
    *(gives_its_job_to_the_next_minute, goes_by_the_clock_of_its_zone, keeps_so_much_history),
    *(works_off_a_queue, is_made_wider_and_narrower, tries_an_index_again_and_fails_it_by_its_code),
    *(gives_up_after_too_many_indexes, succeeds_by_its_policy, passes_over_a_disruption),
)
