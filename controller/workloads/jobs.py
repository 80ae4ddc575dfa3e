"""Jobs: pods that are to end well so many times. Pure, by Kubernetes' rules.

A pod that is over is counted once: the status keeps the uids of those that were counted and are still there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from controller.objects.fields import Json
from controller.objects.timestamps import seconds_of, timestamp
from controller.workloads.steps import (
    BURST,
    Create,
    Delete,
    Plan,
    Step,
    Tell,
    active,
    condition,
    earliest,
    from_template,
    going,
    owned,
    phase,
    ready_since,
)

INDEX = "batch.kubernetes.io/job-completion-index"
BACKOFF, LONGEST_BACKOFF = 10.0, 600.0
# Kubernetes' own bound for indexed jobs.
MOST_INDEXES = 100_000
_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")
INDEXES = re.compile(rf"{_RANGE.pattern}(?:,{_RANGE.pattern})*")
_condition = partial(condition, written="lastProbeTime")


class _Count(msgspec.Struct, kw_only=True):
    """What became of the pods so far."""

    succeeded: int = 0
    failed: int = 0
    counted: dict[str, list[str]] = {}
    indexes: set[int] = set()
    failed_indexes: set[int] = set()
    failures: dict[int, int] = {}
    why: tuple[str, str] = ("", "")
    last_failures: list[float] = []


def plan(job: Json, pods: Sequence[Json], now: float) -> Plan:
    """What to do for a job whose namespace holds these pods."""
    if job["metadata"].get("deletionTimestamp"):
        return Plan()
    spec, before = job["spec"], job.get("status") or {}
    if (over := ended(job)) is not None:
        return _after(job, owned(pods, job), over, now)
    mine = owned(pods, job)
    count = _count(job, mine)
    running = [pod for pod in mine if active(pod)]
    if spec.get("suspend"):
        return _suspended(job, count, running, now)
    began = seconds_of(before.get("startTime")) or now
    status: Json = {**_numbers(count, mine), "startTime": timestamp(began)}
    held: list[Json] = before.get("conditions") or []
    if any(one["type"] == "Suspended" and one["status"] == "True" for one in held):
        status["startTime"] = timestamp(now)
        held = [_condition(held, "Suspended", (False, "JobResumed", "Job resumed"), now)]
        began = now
    deadline = began + int(spec["activeDeadlineSeconds"]) if spec.get("activeDeadlineSeconds") else None
    if failure := _failure(job, count, running, deadline, now):
        return _finished(status, held, running, ("Failed", *failure), now)
    if (rule := _succeeded_by(spec, count)) is not None:
        how = ("Complete", "SuccessPolicy", f"Matched rules at index {rule}")
        return _finished(status, held, running, how, now)
    if _complete(spec, count, running):
        how = ("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        return _finished(status, held, running, how, now)
    steps, again = _steps(job, count, mine, now)
    if held:
        status["conditions"] = held
    return Plan(tuple(steps), status, earliest(deadline, again))


def ended(job: Json) -> Json | None:
    """The condition by which a job is over; None while it is not."""
    for one in (job.get("status") or {}).get("conditions") or ():
        if one["type"] in {"Complete", "Failed"} and one["status"] == "True":
            return one
    return None


def _after(job: Json, mine: Sequence[Json], over: Json, now: float) -> Plan:
    """A job that is over goes after its time to live; what still runs of it is ended."""
    steps: list[Step] = [Delete("pods", pod["metadata"]["name"]) for pod in mine if active(pod)]
    status = job["status"]
    left = sum(1 for pod in mine if going(pod) and phase(pod) not in {"Succeeded", "Failed"})
    status = {**status, "active": 0, "ready": 0, "terminating": left}
    life = job["spec"].get("ttlSecondsAfterFinished")
    if life is None:
        return Plan(tuple(steps), status)
    due = (seconds_of(over.get("lastTransitionTime")) or now) + int(life)
    if now >= due:
        return Plan((Delete("jobs.batch", job["metadata"]["name"], "Background"),))
    return Plan(tuple(steps), status, due)


def _suspended(job: Json, count: _Count, running: Sequence[Json], now: float) -> Plan:
    steps = tuple(Delete("pods", pod["metadata"]["name"]) for pod in running)
    held: list[Json] = (job.get("status") or {}).get("conditions") or []
    told = _condition(held, "Suspended", (True, "JobSuspended", "Job suspended"), now)
    status = {**_numbers(count, []), "conditions": [told]}
    return Plan(steps, status)


def index_of(pod: Json) -> int:
    """The completion index of a pod; -1 for none."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1


def _count(job: Json, mine: Sequence[Json]) -> _Count:
    spec, before = job["spec"], job.get("status") or {}
    known: Json = before.get("uncountedTerminatedPods") or {}
    count = _Count(succeeded=int(before.get("succeeded") or 0), failed=int(before.get("failed") or 0))
    count.indexes = set(ranges(before.get("completedIndexes") or ""))
    count.failed_indexes = set(ranges(before.get("failedIndexes") or ""))
    for name in ("succeeded", "failed"):
        count.counted[name] = []
    for pod in mine:
        state, uid = phase(pod), pod["metadata"]["uid"]
        if state == "Succeeded":
            count.counted["succeeded"].append(uid)
            indexed = spec.get("completionMode") == "Indexed"
            again = indexed and index_of(pod) in count.indexes
            if uid not in (known.get("succeeded") or ()) and not again:
                count.succeeded += 1
            if indexed:
                count.indexes.add(index_of(pod))
        elif state == "Failed":
            _failed(job, count, pod, known)
    return count


def _failed(job: Json, count: _Count, pod: Json, known: Json) -> None:
    action, message = _policy(job["spec"], pod)
    uid = pod["metadata"]["uid"]
    if action == "Ignore":
        return
    if action == "FailJob":
        count.why = ("PodFailurePolicy", message)
    count.counted["failed"].append(uid)
    if uid not in (known.get("failed") or ()):
        count.failed += 1
    index = index_of(pod)
    count.failures[index] = count.failures.get(index, 0) + 1
    count.last_failures.append(_end_of(pod))
    limit = job["spec"].get("backoffLimitPerIndex")
    if index >= 0 and (action == "FailIndex" or (limit is not None and count.failures[index] > int(limit))):
        count.failed_indexes.add(index)


def _end_of(pod: Json) -> float:
    moments = [
        seconds_of(((one.get("state") or {}).get("terminated") or {}).get("finishedAt")) or 0.0
        for one in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    return max(moments, default=0.0) or seconds_of(pod["metadata"].get("creationTimestamp")) or 0.0


def _policy(spec: Json, pod: Json) -> tuple[str, str]:
    """What the job's failure policy says of a pod that failed, and why."""
    for number, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        if (told := _matches(rule, pod)) is not None:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            return rule["action"], f"{told.format(pod=name)} matching {rule['action']} rule at index {number}"
    return "Count", ""


def _matches(rule: Json, pod: Json) -> str | None:
    status: Json = pod.get("status") or {}
    if (codes := rule.get("onExitCodes")) is not None:
        listed = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        for one in listed:
            code = ((one.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
            named = codes.get("containerName") in (None, "", one["name"])
            if code and named and (code in codes["values"]) == (codes["operator"] == "In"):
                return f"Container {one['name']} for pod {{pod}} failed with exit code {code}"
    for wanted in rule.get("onPodConditions") or ():
        for one in status.get("conditions") or ():
            if one["type"] == wanted["type"] and one["status"] == wanted.get("status", "True"):
                return f"Pod {{pod}} has condition {one['type']}"
    return None


def ranges(text: str) -> Iterator[int]:
    """The numbers in "1,3-5", at most as many as an indexed job may have: anybody may write a status."""
    found = (_RANGE.fullmatch(part) for part in text.split(",", MOST_INDEXES)[:MOST_INDEXES])
    numbers = (range(int(one[1]), min(int(one[2] or one[1]), MOST_INDEXES) + 1) for one in found if one)
    return itertools.islice(itertools.chain.from_iterable(numbers), MOST_INDEXES)


def folded(numbers: set[int]) -> str:
    """Numbers as "1,3-5"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _numbers(count: _Count, mine: Sequence[Json]) -> Json:
    running = [pod for pod in mine if active(pod)]
    status: Json = {
        "active": len(running),
        "ready": sum(ready_since(pod) is not None for pod in running),
        "terminating": sum(1 for pod in mine if going(pod) and phase(pod) not in {"Succeeded", "Failed"}),
        "succeeded": count.succeeded,
        "failed": count.failed,
        "uncountedTerminatedPods": count.counted,
    }
    if count.indexes:
        status["completedIndexes"] = folded(count.indexes)
    if count.failed_indexes:
        status["failedIndexes"] = folded(count.failed_indexes)
    return status


def _failure(
    job: Json, count: _Count, running: Sequence[Json], deadline: float | None, now: float
) -> tuple[str, str] | None:
    spec = job["spec"]
    if count.why[0]:
        return count.why
    if deadline is not None and now >= deadline:
        return ("DeadlineExceeded", "Job was active longer than specified deadline")
    if spec.get("backoffLimitPerIndex") is not None:
        return _failed_indexes(spec, count, running)
    limit = int(spec.get("backoffLimit", 6))
    restarts = 0
    if spec["template"]["spec"].get("restartPolicy") == "OnFailure":
        restarts = sum(
            one.get("restartCount", 0)
            for pod in running
            for one in (pod.get("status") or {}).get("containerStatuses") or ()
        )
    if count.failed > limit or (restarts and restarts >= max(limit, 1)):
        return ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    return None


def _failed_indexes(spec: Json, count: _Count, running: Sequence[Json]) -> tuple[str, str] | None:
    most = spec.get("maxFailedIndexes")
    if most is not None and len(count.failed_indexes) > int(most):
        return ("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes")
    if count.failed_indexes and not running and len(count.failed_indexes | count.indexes) >= int(spec["completions"]):
        return ("FailedIndexes", "Job has failed indexes")
    return None


def _complete(spec: Json, count: _Count, running: Sequence[Json]) -> bool:
    completions = spec.get("completions")
    if completions is None:
        return count.succeeded > 0 and not running
    if spec.get("completionMode") == "Indexed":
        return len(count.indexes) >= int(completions)
    return count.succeeded >= int(completions)


def _succeeded_by(spec: Json, count: _Count) -> int | None:
    """Which rule of the job's success policy is met by the indexes that have succeeded."""
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or () if count.indexes else ()):
        text, enough = rule.get("succeededIndexes"), rule.get("succeededCount")
        wanted = {one for one in ranges(text) if one < int(spec["completions"])} if text is not None else None
        met = count.indexes if wanted is None else count.indexes & wanted
        if wanted != set() and (met == wanted or (enough is not None and len(met) >= int(enough))):
            return number
    return None


def _finished(status: Json, held: list[Json], running: Sequence[Json], how: tuple[str, str, str], now: float) -> Plan:
    kind, reason, message = how
    first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    conditions = [
        *(one for one in held if one["type"] not in {first, kind}),
        _condition(held, first, (True, reason, message), now),
        _condition(held, kind, (True, reason, message), now),
    ]
    ended_at = {"completionTime": timestamp(now)} if kind == "Complete" else {}
    steps: list[Step] = [Delete("pods", pod["metadata"]["name"]) for pod in running]
    told = Tell("Completed", "Job completed") if kind == "Complete" else Tell(reason, message, warning=True)
    return Plan((*steps, told), {**status, **ended_at, "active": 0, "ready": 0, "conditions": conditions}, None)


def _steps(job: Json, count: _Count, mine: Sequence[Json], now: float) -> tuple[list[Step], float | None]:
    spec = job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    running = [pod for pod in mine if active(pod)]
    holding = list(running)
    if spec.get("podReplacementPolicy") == "Failed":
        holding += [pod for pod in mine if going(pod) and phase(pod) not in {"Succeeded", "Failed"}]
    if len(running) > parallelism:
        return [Delete("pods", pod["metadata"]["name"]) for pod in running[parallelism:]], None
    wanted = _wanted(spec, count, parallelism) - len(holding)
    if wanted <= 0:
        return [], None
    # What a clock that was ahead told of a failure holds back no pod once it is right.
    if now < (due := _backoff(count)) <= now + 2 * LONGEST_BACKOFF:
        return [], due
    if spec.get("completionMode") == "Indexed":
        taken = {index_of(pod) for pod in holding} | count.indexes | count.failed_indexes
        free = (index for index in range(int(spec["completions"])) if index not in taken)
        return [Create("pods", _pod(job, index)) for index in itertools.islice(free, min(wanted, BURST))], None
    return [Create("pods", _pod(job, None)) for _ in range(min(wanted, BURST))], None


def _wanted(spec: Json, count: _Count, parallelism: int) -> int:
    completions = spec.get("completions")
    if completions is None:
        return 0 if count.succeeded else parallelism
    return min(parallelism, int(completions) - count.succeeded)


def _backoff(count: _Count) -> float:
    """When the next pod may be made: longer after each one that failed."""
    failures = len(count.last_failures)
    if not failures:
        return 0.0
    return max(count.last_failures) + min(BACKOFF * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF)


def _pod(job: Json, index: int | None) -> Json:
    pod = from_template(job, job["spec"]["template"])
    if index is None:
        return pod
    name, text = job["metadata"]["name"], str(index)
    metadata: Json = pod["metadata"]
    metadata["generateName"] = f"{name}-{index}-"
    metadata["annotations"] = {**(metadata.get("annotations") or {}), INDEX: text}
    metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: text}
    pod["spec"].setdefault("hostname", f"{name}-{index}"[:63])
    source = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
    for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
        container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return pod
