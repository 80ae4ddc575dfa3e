"""The same scenarios on Kubernetes' own control plane (where KUBE_BIN has one) and on ours.

Jobs, CronJobs, Deployments, StatefulSets: what a scenario asserts holds for both, or one of them is not Kubernetes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.semantics import batches, owners, replicas
from tests.semantics.making import CRON, DEPLOYMENTS, JOBS, REVISIONS, SETS, STATEFUL, job, running, template
from tests.semantics.planes import Json, ours, theirs
from tests.semantics.player import Player, is_ready
from tests.support.cluster import binaries

pytestmark = pytest.mark.timeout(300)
PROGRAMS = binaries()
Scenario = Callable[[Player], Any]


@asynccontextmanager
async def _theirs(folder: Path) -> AsyncGenerator[Any]:
    if PROGRAMS is None:
        pytest.skip("NOT RUN: KUBE_BIN has no control plane")
    async with theirs(PROGRAMS, folder) as plane:
        yield plane


async def completes_by_parts(it: Player) -> None:
    await it.create(JOBS, job("parts", completions=3, parallelism=2))
    first = await it.count("parts", 2)
    await it.ended(first[0])
    second = await it.count("parts", 2)
    for pod in second:
        await it.ended(pod)
    await it.condition(JOBS, "parts", "SuccessCriteriaMet")
    await it.condition(JOBS, "parts", "Complete")
    status = await it.status(JOBS, "parts", succeeded=3, failed=0, active=0)
    assert status["completionTime"]
    assert status["startTime"]
    labels = first[0]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == labels["job-name"] == "parts"


async def gives_up_after_its_backoff_limit(it: Player) -> None:
    await it.create(JOBS, job("fails", backoffLimit=0))
    (pod,) = await it.count("fails", 1)
    await it.ended(pod, 1)
    told = await it.condition(JOBS, "fails", "Failed", reason="BackoffLimitExceeded")
    assert told["message"] == "Job has reached the specified backoff limit"
    await it.status(JOBS, "fails", failed=1, active=0)
    assert len(await it.pods("fails")) == 1


async def waits_before_it_tries_again(it: Player) -> None:
    await it.create(JOBS, job("again", backoffLimit=2))
    (pod,) = await it.count("again", 1)
    await it.ended(pod, 1)
    await it.status(JOBS, "again", failed=1, active=0)
    assert not await it.active("again")  # ten seconds after the first failure
    (pod,) = await it.count("again", 1)
    await it.ended(pod)
    await it.condition(JOBS, "again", "Complete")


async def numbers_its_parts(it: Player) -> None:
    await it.create(JOBS, job("indexed", completions=3, parallelism=3, completionMode="Indexed"))
    pods = await it.count("indexed", 3)
    index = "batch.kubernetes.io/job-completion-index"
    assert {pod["metadata"]["annotations"][index] for pod in pods} == {"0", "1", "2"}
    assert {pod["metadata"]["labels"][index] for pod in pods} == {"0", "1", "2"}
    for pod in pods:
        number = pod["metadata"]["annotations"][index]
        assert pod["spec"]["hostname"] == f"indexed-{number}"
        assert pod["metadata"]["name"].startswith(f"indexed-{number}-")
        (variable,) = pod["spec"]["containers"][0]["env"]
        assert variable["name"] == "JOB_COMPLETION_INDEX"
        assert index in variable["valueFrom"]["fieldRef"]["fieldPath"]
    by_number = {pod["metadata"]["annotations"][index]: pod for pod in pods}
    await it.ended(by_number["0"])
    await it.ended(by_number["2"])
    await it.status(JOBS, "indexed", succeeded=2, completedIndexes="0,2")
    await it.ended(by_number["1"])
    await it.status(JOBS, "indexed", succeeded=3, completedIndexes="0-2")
    await it.condition(JOBS, "indexed", "Complete")


async def fails_an_index_for_good(it: Player) -> None:
    spec: Json = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0}
    await it.create(JOBS, job("perindex", **spec))
    pods = await it.count("perindex", 2)
    await it.ended(pods[0], 1)
    await it.status(JOBS, "perindex", failed=1, failedIndexes="0")
    await it.ended(pods[1])
    await it.condition(JOBS, "perindex", "Failed", reason="FailedIndexes")
    await it.status(JOBS, "perindex", completedIndexes="1", failedIndexes="0", succeeded=1)


async def is_suspended_and_taken_up(it: Player) -> None:
    await it.create(JOBS, job("sleeps", suspend=True))
    await it.condition(JOBS, "sleeps", "Suspended", reason="JobSuspended", message="Job suspended")
    assert not await it.pods("sleeps")
    await it.spec(JOBS, "sleeps", suspend=False)
    await it.count("sleeps", 1)
    await it.condition(JOBS, "sleeps", "Suspended", "False", reason="JobResumed", message="Job resumed")
    await it.spec(JOBS, "sleeps", suspend=True)
    await it.count("sleeps", 0)
    status = await it.status(JOBS, "sleeps", active=0)
    assert "startTime" not in status


async def fails_by_its_pod_failure_policy(it: Player) -> None:
    codes = {"operator": "In", "values": [42]}
    rules = [{"action": "FailJob", "onExitCodes": codes}]
    await it.create(JOBS, job("policy", backoffLimit=5, podFailurePolicy={"rules": rules}))
    (pod,) = await it.count("policy", 1)
    await it.ended(pod, 42)
    told = await it.condition(JOBS, "policy", "Failed", reason="PodFailurePolicy")
    name = pod["metadata"]["name"]
    assert told["message"] == (
        f"Container main for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"
    )


async def ignores_by_its_pod_failure_policy(it: Player) -> None:
    rules = [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}]
    await it.create(JOBS, job("ignores", backoffLimit=0, podFailurePolicy={"rules": rules}))
    (pod,) = await it.count("ignores", 1)
    await it.ended(pod, 7)
    (pod,) = await it.count("ignores", 1)
    await it.ended(pod)
    await it.condition(JOBS, "ignores", "Complete")
    await it.status(JOBS, "ignores", failed=0, succeeded=1)


async def ends_at_its_deadline(it: Player) -> None:
    await it.create(JOBS, job("late", activeDeadlineSeconds=1))
    told = await it.condition(JOBS, "late", "Failed", reason="DeadlineExceeded")
    assert told["message"] == "Job was active longer than specified deadline"
    await it.count("late", 0)


async def goes_after_its_time_to_live(it: Player) -> None:
    await it.create(JOBS, job("brief", ttlSecondsAfterFinished=1))
    (pod,) = await it.count("brief", 1)
    await it.ended(pod)

    async def gone() -> bool:
        return await it.find(JOBS, "brief") is None

    await it.until("the end of the job", gone)


async def rolls_out(it: Player) -> None:
    await it.create(DEPLOYMENTS, running("Deployment", "web", 3))
    pods = await it.all_ready("web", 3)
    await it.status(DEPLOYMENTS, "web", replicas=3, readyReplicas=3, availableReplicas=3, updatedReplicas=3)
    await it.condition(DEPLOYMENTS, "web", "Available", reason="MinimumReplicasAvailable")
    await it.condition(DEPLOYMENTS, "web", "Progressing", reason="NewReplicaSetAvailable")
    (held,) = [one for one in await it.plane.list(SETS) if one["metadata"]["name"].startswith("web-")]
    name = held["metadata"]["labels"]["pod-template-hash"]
    assert held["metadata"]["name"] == f"web-{name}"
    assert held["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert all(re.fullmatch(rf"web-{name}-[a-z0-9]{{5}}", pod["metadata"]["name"]) for pod in pods)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await it.spec(DEPLOYMENTS, "web", strategy=strategy)
    await it.spec(DEPLOYMENTS, "web", template=template("web", "a:2"))
    for number in range(1, 4):
        # One more than wanted, and never fewer ready ones.
        active = await it.count("web", 4)
        assert sum(map(is_ready, active)) == 3
        new = [pod for pod in active if not is_ready(pod)]
        assert len(new) == 1, number
        await it.ready(new[0])
    await it.count("web", 3)
    status = await it.status(DEPLOYMENTS, "web", replicas=3, updatedReplicas=3, availableReplicas=3)
    assert not status.get("unavailableReplicas")
    await it.spec(DEPLOYMENTS, "web", template=template("web", "a:1"))
    old = await it.until("the old set as revision 3", lambda: _set_of(it, "web", "3"))
    assert old["metadata"]["name"] == held["metadata"]["name"]


async def _set_of(it: Player, name: str, revision: str) -> Json | None:
    key = "deployment.kubernetes.io/revision"
    for one in await it.plane.list(SETS):
        found = (one["metadata"].get("annotations") or {}).get(key)
        if one["metadata"]["name"].startswith(f"{name}-") and found == revision:
            return one
    return None


async def is_created_anew_at_once(it: Player) -> None:
    await it.create(DEPLOYMENTS, running("Deployment", "anew", 2, strategy={"type": "Recreate"}))
    await it.all_ready("anew", 2)
    await it.status(DEPLOYMENTS, "anew", availableReplicas=2)
    await it.spec(DEPLOYMENTS, "anew", template=template("anew", "a:2"))

    async def new_only() -> list[Json] | None:
        pods = await it.active("anew")
        images = {pod["spec"]["containers"][0]["image"] for pod in pods}
        assert len(images) < 2, "old and new run beside each other"
        return pods if images == {"a:2"} and len(pods) == 2 else None

    await it.until("two new pods", new_only)


async def is_too_slow(it: Player) -> None:
    await it.create(DEPLOYMENTS, running("Deployment", "slow", 1, progressDeadlineSeconds=2))
    await it.count("slow", 1)
    told = await it.condition(DEPLOYMENTS, "slow", "Progressing", "False", reason="ProgressDeadlineExceeded")
    assert re.fullmatch(r'ReplicaSet "slow-[a-z0-9]+" has timed out progressing\.', told["message"])
    await it.condition(DEPLOYMENTS, "slow", "Available", "False", reason="MinimumReplicasUnavailable")


async def is_paused_and_scaled(it: Player) -> None:
    await it.create(DEPLOYMENTS, running("Deployment", "rests", 1))
    await it.all_ready("rests", 1)
    await it.status(DEPLOYMENTS, "rests", availableReplicas=1)
    await it.spec(DEPLOYMENTS, "rests", paused=True)
    await it.condition(DEPLOYMENTS, "rests", "Progressing", "Unknown", reason="DeploymentPaused")
    await it.spec(DEPLOYMENTS, "rests", template=template("rests", "a:2"), replicas=2)
    pods = await it.count("rests", 2)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"a:1"}
    await it.spec(DEPLOYMENTS, "rests", paused=False)
    await it.until("a new revision", lambda: _set_of(it, "rests", "2"))


async def comes_and_goes_in_order(it: Player) -> None:
    await it.create(STATEFUL, running("StatefulSet", "db", 3, serviceName="db"))
    pods: list[Json] = []
    for number in range(3):
        pods = await it.count("db", number + 1)
        assert [pod["metadata"]["name"] for pod in pods] == [f"db-{one}" for one in range(number + 1)]
        await it.ready(pods[-1])
    labels = pods[0]["metadata"]["labels"]
    assert labels["apps.kubernetes.io/pod-index"] == "0"
    assert labels["statefulset.kubernetes.io/pod-name"] == "db-0"
    assert (pods[0]["spec"]["hostname"], pods[0]["spec"]["subdomain"]) == ("db-0", "db")
    status = await it.status(STATEFUL, "db", replicas=3, readyReplicas=3, currentReplicas=3, updatedReplicas=3)
    assert status["currentRevision"] == status["updateRevision"]
    await it.spec(STATEFUL, "db", replicas=1)
    await it.count("db", 1)
    assert [pod["metadata"]["name"] for pod in await it.pods("db")] == ["db-0"]


async def is_renewed_from_the_last_down_to_its_partition(it: Player) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    await it.create(STATEFUL, running("StatefulSet", "part", 2, serviceName="part", updateStrategy=rolling))
    for number in range(2):
        await it.ready((await it.count("part", number + 1))[-1])
    before = await it.status(STATEFUL, "part", readyReplicas=2, currentReplicas=2)
    await it.spec(STATEFUL, "part", template=template("part", "a:2"))

    async def renewed() -> Json | None:
        pods = {pod["metadata"]["name"]: pod for pod in await it.pods("part")}
        found = pods.get("part-1")
        return found if found and found["spec"]["containers"][0]["image"] == "a:2" else None

    await it.ready(await it.until("part-1 of the new template", renewed))
    status = await it.status(STATEFUL, "part", updatedReplicas=1, currentReplicas=1, readyReplicas=2)
    assert status["currentRevision"] == before["currentRevision"] != status["updateRevision"]
    # One below the partition that is lost comes back as it was.
    await it.plane.delete("pods", "part-0")
    pods = await it.count("part", 2)
    assert pods[0]["spec"]["containers"][0]["image"] == "a:1"
    await it.ready(pods[0])
    await it.spec(STATEFUL, "part", updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})

    async def all_new() -> list[Json] | None:
        pods = await it.active("part")
        images = [pod["spec"]["containers"][0]["image"] for pod in pods]
        return pods if images == ["a:2", "a:2"] else None

    for pod in await it.until("both of the new template", all_new):
        await it.ready(pod)
    status = await it.status(STATEFUL, "part", updatedReplicas=2, currentReplicas=2, readyReplicas=2)
    assert status["currentRevision"] == status["updateRevision"]


async def goes_back_to_an_earlier_revision(it: Player) -> None:
    """As `kubectl rollout undo` does: what a revision holds is a patch of the set."""
    await it.create(STATEFUL, running("StatefulSet", "undo", 1, serviceName="undo", revisionHistoryLimit=1))

    async def runs(image: str) -> None:
        async def there() -> list[Json] | None:
            pods = await it.active("undo")
            return pods if [pod["spec"]["containers"][0]["image"] for pod in pods] == [image] else None

        await it.ready((await it.until(f"a pod of {image}", there))[0])
        status = await it.status(STATEFUL, "undo", readyReplicas=1, updatedReplicas=1, currentReplicas=1)
        assert status["currentRevision"] == status["updateRevision"]

    async def history() -> list[Json]:
        kept = [one for one in await it.plane.list(REVISIONS) if one["metadata"]["name"].startswith("undo-")]
        return sorted(kept, key=lambda one: one["revision"])

    def images(kept: list[Json]) -> list[tuple[int, str]]:
        templates = [(one["revision"], one["data"]["spec"]["template"]) for one in kept]
        assert all(template["$patch"] == "replace" for _, template in templates)
        return [(number, template["spec"]["containers"][0]["image"]) for number, template in templates]

    await runs("a:1")
    await it.spec(STATEFUL, "undo", template=template("undo", "a:2"))
    await runs("a:2")
    (first, second) = await history()
    assert images([first, second]) == [(1, "a:1"), (2, "a:2")]
    assert first["metadata"]["labels"]["app"] == "undo"
    assert first["metadata"]["ownerReferences"][0]["name"] == "undo"
    earlier = {key: value for key, value in first["data"]["spec"]["template"].items() if key != "$patch"}
    await it.spec(STATEFUL, "undo", template=earlier)
    await runs("a:1")
    assert images(await history()) == [(2, "a:2"), (3, "a:1")]
    assert (await it.find(STATEFUL, "undo") or {})["status"]["updateRevision"] == first["metadata"]["name"]
    await it.spec(STATEFUL, "undo", template=template("undo", "a:3"))
    await runs("a:3")

    async def forgotten() -> bool:
        return images(await history()) == [(3, "a:1"), (4, "a:3")]

    await it.until("the oldest revision gone", forgotten)


async def keeps_time(it: Player) -> None:
    inner = {"template": template("tick", restart="Never")}
    spec = {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": inner}}
    await it.create(CRON, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}, "spec": spec})
    (pod,) = await it.until("a pod at the full minute", lambda: it.active("tick"), 90)
    (made,) = [one for one in await it.plane.list(JOBS) if one["metadata"]["name"].startswith("tick-")]
    assert re.fullmatch(r"tick-\d{8}", made["metadata"]["name"])
    assert made["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    assert made["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].endswith(":00Z")
    name = made["metadata"]["name"]

    async def listed() -> bool:
        one = await it.find(CRON, "tick")
        return bool(one and [each["name"] for each in one["status"].get("active") or ()] == [name])

    await it.until("the job in the status", listed)
    await it.ended(pod)

    async def settled() -> bool:
        one = await it.find(CRON, "tick")
        return bool(one and not one["status"].get("active") and one["status"].get("lastSuccessfulTime"))

    await it.until("the success in the status", settled)


SCENARIOS: list[Scenario] = [
    *(completes_by_parts, gives_up_after_its_backoff_limit, waits_before_it_tries_again, numbers_its_parts),
    *(fails_an_index_for_good, is_suspended_and_taken_up, fails_by_its_pod_failure_policy),
    *(ignores_by_its_pod_failure_policy, ends_at_its_deadline, goes_after_its_time_to_live, rolls_out),
    *(is_created_anew_at_once, is_too_slow, is_paused_and_scaled, comes_and_goes_in_order),
    *(is_renewed_from_the_last_down_to_its_partition, goes_back_to_an_earlier_revision, keeps_time),
    *(*batches.SCENARIOS, *replicas.SCENARIOS, *owners.SCENARIOS),
]
MINUTES = {keeps_time, batches.gives_its_job_to_the_next_minute, batches.goes_by_the_clock_of_its_zone}
AT_ONCE = 4


@pytest.mark.parametrize(
    "scenario", [pytest.param(one, marks=[pytest.mark.waits] if one in MINUTES else []) for one in SCENARIOS]
)
async def test_ours(tmp_path: Path, scenario: Scenario) -> None:
    async with ours(tmp_path) as plane:
        await scenario(Player(plane))


@pytest.mark.timeout(900)
async def test_kubernetes_own(tmp_path: Path) -> None:
    """One control plane for all of them, some beside each other: each has names of its own."""
    wrong: list[str] = []
    async with _theirs(tmp_path) as plane:
        left = iter(SCENARIOS)

        async def some() -> None:
            for scenario in left:
                try:
                    await scenario(Player(plane))
                except AssertionError as error:
                    wrong.append(f"{scenario}: {error}")

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(some())
    assert not wrong, "\n".join(wrong)
