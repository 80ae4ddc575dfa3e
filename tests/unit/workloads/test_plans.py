"""Workloads' plans come to their end whatever their pods do, and never go beyond their bounds."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.all_kinds import WORKLOADS
from controller.objects.shapes import unknown
from controller.objects.timestamps import timestamp
from controller.workloads import deployments, jobs, replica_sets, stateful_sets
from controller.workloads.steps import BURST, Create, Delete, Mark, Plan, Renumber, ScaleReplicaSet

Json = dict[str, Any]
NOW = 1_000_000.0
SHAPES = {kind.kind: kind.shape for kind in WORKLOADS}
REVISIONS = "controllerrevisions.apps"


class World:
    """What a controller sees: objects that plans create and delete, and pods that the test moves."""

    def __init__(self) -> None:
        self.now = NOW
        self.numbers = itertools.count(1)
        self.objects: dict[str, dict[str, Json]] = {"pods": {}, "replicasets.apps": {}, "jobs.batch": {}, REVISIONS: {}}

    def made(self, key: str, one: Json) -> Json:
        number = next(self.numbers)
        one = copy.deepcopy(one)
        one["metadata"].setdefault("name", f"{one['metadata'].get('generateName', 'x')}{number}")
        one["metadata"] |= {"uid": f"u{number}", "namespace": "n", "creationTimestamp": timestamp(self.now)}
        if one["metadata"]["name"] in self.objects[key]:
            return self.objects[key][one["metadata"]["name"]]
        self.objects[key][one["metadata"]["name"]] = one
        return one

    def act(self, one: Json, plan: Plan) -> None:
        if plan.status is not None:
            one["status"] = plan.status
            # kubectl sends it all back, and a field that no type has is refused.
            assert list(unknown({"status": plan.status}, SHAPES[one["kind"]])) == []
        for step in plan.steps:
            match step:
                case Create(key, wanted):
                    self.made(key, wanted)
                case Delete(key, name):
                    self.objects[key].pop(name, None)
                case ScaleReplicaSet(name, replicas, annotations):
                    found = self.objects["replicasets.apps"][name]
                    found["spec"]["replicas"] = replicas
                    if annotations:
                        found["metadata"]["annotations"] = dict(annotations)
                case Renumber(name, number):
                    self.objects[REVISIONS][name]["revision"] = number
                case Mark(name, text):
                    one["metadata"].setdefault("annotations", {})[name] = text
                case _:
                    pass

    @property
    def pods(self) -> list[Json]:
        return list(self.objects["pods"].values())

    @property
    def pods_and_revisions(self) -> list[Json]:
        return [*self.pods, *self.objects[REVISIONS].values()]

    def ready(self, pod: Json) -> None:
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(self.now)}
        pod["status"] = {"phase": "Running", "conditions": [condition]}

    def over(self, pod: Json, code: int) -> None:
        state = {"terminated": {"exitCode": code, "finishedAt": timestamp(self.now)}}
        pod["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "c", "state": state}],
        }


TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}


def owner(kind: str, **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "it", "namespace": "n", "uid": "u0", "generation": 1, "creationTimestamp": timestamp(NOW)},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": copy.deepcopy(TEMPLATE), **spec},
    }


def settle(world: World, deployment: Json, *, ready: bool = True) -> None:
    """Passes until nothing changes, with pods that become ready at once."""
    for _ in range(60):
        before = copy.deepcopy((world.objects, deployment))
        world.act(deployment, deployments.plan(deployment, list(world.objects["replicasets.apps"].values()), world.now))
        for replica_set in list(world.objects["replicasets.apps"].values()):
            world.act(replica_set, replica_sets.plan(replica_set, world.pods, world.now))
            if ready:
                for pod in world.pods:
                    world.ready(pod)
            world.act(replica_set, replica_sets.plan(replica_set, world.pods, world.now))
        if before == (world.objects, deployment):
            return
    raise AssertionError("it never settles")


@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 3), st.integers(0, 3))
def test_a_rollout_ends_and_stays_within_its_bounds(first: int, second: int, surge: int, missing: int) -> None:
    world = World()
    rolling = {"maxSurge": surge, "maxUnavailable": missing}
    deployment = owner("Deployment", replicas=first, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    settle(world, deployment)
    assert len(world.pods) == first
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "i:2"
    deployment["spec"]["replicas"] = second
    settle(world, deployment)
    assert [pod["spec"]["containers"][0]["image"] for pod in world.pods] == ["i:2"] * second
    assert deployment["status"]["updatedReplicas"] == deployment["status"]["availableReplicas"] == second
    (progressing,) = [one for one in deployment["status"]["conditions"] if one["type"] == "Progressing"]
    assert progressing["reason"] == "NewReplicaSetAvailable"


def test_a_rollout_to_pods_that_never_get_ready_leaves_enough_of_the_old_ones_and_says_so() -> None:
    world = World()
    deployment = owner("Deployment", replicas=4, progressDeadlineSeconds=60, revisionHistoryLimit=10)
    settle(world, deployment)
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "broken"
    settle(world, deployment, ready=False)
    images = [pod["spec"]["containers"][0]["image"] for pod in world.pods]
    assert images.count("i:1") == 3, "a quarter may be missing"
    assert len(images) == 5, "a quarter may be above"
    world.now += 61
    settle(world, deployment, ready=False)
    (progressing,) = [one for one in deployment["status"]["conditions"] if one["type"] == "Progressing"]
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")


def test_a_template_that_is_wanted_again_is_the_newest_revision() -> None:
    world = World()
    deployment = owner("Deployment", replicas=1)
    settle(world, deployment)
    for image in ("i:2", "i:1"):
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        settle(world, deployment)
    sets = world.objects["replicasets.apps"].values()
    by_image = {one["spec"]["template"]["spec"]["containers"][0]["image"]: deployments.revision_of(one) for one in sets}
    assert by_image == {"i:1": 3, "i:2": 2}
    # kubectl rollout status --revision reads it there.
    assert deployment["metadata"]["annotations"] == {deployments.REVISION: "3"}
    deployment["metadata"]["annotations"] = {deployments.REVISION: "somebody's"}
    settle(world, deployment)
    assert deployment["metadata"]["annotations"] == {deployments.REVISION: "3"}


def job(**spec: Any) -> Json:
    return owner("Job", **{"parallelism": 1, "completions": 1, "backoffLimit": 6, **spec})


def passed(world: World, one: Json) -> Plan:
    plan = jobs.plan(one, world.pods, world.now)
    world.act(one, plan)
    return plan


def test_a_failure_that_a_clock_was_ahead_at_holds_the_next_pod_back_no_longer_than_twice_the_longest_pause() -> None:
    for ahead, made in ((0.0, 0), (300.0, 0), (86_400.0, 1)):
        world = World()
        one = job()
        passed(world, one)
        world.now += ahead
        world.over(world.pods[0], 1)
        world.now -= ahead
        passed(world, one)
        assert len(world.pods) == 1 + made


def conditions(one: Json) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in one["status"].get("conditions") or ()}


@given(st.integers(1, 4), st.integers(1, 6), st.booleans(), st.lists(st.sampled_from([0, 1]), max_size=40))
def test_a_job_ends_with_as_many_successes_as_it_wants_or_after_too_many_failures(
    parallelism: int, completions: int, indexed: bool, codes: list[int]
) -> None:
    world = World()
    mode = {"completionMode": "Indexed"} if indexed else {}
    one = job(parallelism=parallelism, completions=completions, backoffLimit=3, **mode)
    outcomes = itertools.chain(codes, itertools.repeat(0))
    for _ in range(200):
        passed(world, one)
        running = [pod for pod in world.pods if "status" not in pod]
        assert len(running) <= parallelism
        if jobs.ended(one) is not None:
            break
        for pod in running[:1]:
            world.over(pod, next(outcomes))
        world.now += 700
    over = jobs.ended(one)
    assert over is not None
    if over["type"] == "Complete":
        assert one["status"]["succeeded"] == completions
        assert not indexed or one["status"]["completedIndexes"] == jobs.folded(set(range(completions)))
    else:
        assert (over["reason"], one["status"]["failed"]) == ("BackoffLimitExceeded", 4)


def test_a_pod_that_was_counted_and_deleted_is_not_counted_again_nor_forgotten() -> None:
    world = World()
    one = job(completions=2)
    passed(world, one)
    world.over(world.pods[0], 0)
    passed(world, one)
    passed(world, one)
    assert one["status"]["succeeded"] == 1
    world.objects["pods"].clear()
    passed(world, one)
    assert one["status"]["succeeded"] == 1
    assert len(world.pods) == 1


def test_a_failed_pod_is_followed_by_the_next_one_after_a_pause_that_grows() -> None:
    world = World()
    one = job()
    passed(world, one)
    world.over(world.pods[0], 1)
    assert passed(world, one).again == NOW + 10
    assert len(world.pods) == 1
    world.now += 10
    passed(world, one)
    world.over(world.pods[1], 1)
    assert passed(world, one).again == world.now + 20


def test_a_failure_policy_ends_a_job_at_once_or_overlooks_a_failure() -> None:
    world = World()
    codes = {"operator": "In", "values": [42]}
    rules = [{"action": "FailJob", "onExitCodes": codes}, {"action": "Ignore", "onPodConditions": [{"type": "Lost"}]}]
    one = job(podFailurePolicy={"rules": rules}, backoffLimit=0)
    passed(world, one)
    world.pods[0]["status"] = {"phase": "Failed", "conditions": [{"type": "Lost", "status": "True"}]}
    passed(world, one)
    assert one["status"]["failed"] == 0
    assert len(world.pods) == 2
    world.over(world.pods[1], 42)
    passed(world, one)
    assert conditions(one)["Failed"] == "PodFailurePolicy"


def test_deadlines_suspension_and_time_to_live() -> None:
    world = World()
    one = job(activeDeadlineSeconds=60, ttlSecondsAfterFinished=100)
    one["spec"]["suspend"] = True
    passed(world, one)
    assert (world.pods, conditions(one)) == ([], {"Suspended": "JobSuspended"})
    one["spec"]["suspend"] = False
    passed(world, one)
    assert len(world.pods) == 1
    world.now += 60
    passed(world, one)
    assert conditions(one)["Failed"] == "DeadlineExceeded"
    assert world.pods == []
    assert passed(world, one).again == world.now + 100
    world.now += 100
    assert passed(world, one).steps == (Delete("jobs.batch", "it"),)


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
def test_a_stateful_set_comes_goes_and_is_renewed_in_order(policy: str) -> None:
    world = World()
    one = owner("StatefulSet", replicas=3, podManagementPolicy=policy)

    def turn() -> list[str]:
        before = set(world.objects["pods"])
        world.act(one, stateful_sets.plan(one, world.pods_and_revisions, world.now))
        came = sorted(set(world.objects["pods"]) - before)
        for name in came:
            world.ready(world.objects["pods"][name])
        return came

    came = [turn() for _ in range(3)]
    assert came == ([["it-0"], ["it-1"], ["it-2"]] if policy == "OrderedReady" else [["it-0", "it-1", "it-2"], [], []])
    one["spec"]["template"]["spec"]["containers"][0]["image"] = "i:2"
    seen = list(itertools.chain.from_iterable(turn() for _ in range(12)))
    assert seen == ["it-2", "it-1", "it-0"]
    assert one["status"]["currentRevision"] != "" or turn()
    one["spec"]["replicas"] = 1
    for _ in range(3):
        turn()
    assert list(world.objects["pods"]) == ["it-0"]


def image(one: Json) -> str:
    return one["spec"]["containers"][0]["image"]


def renewed(world: World, one: Json, wanted: str) -> list[list[str]]:
    """Give a stateful set a new image and let it come to rest: which pods went at once, turn by turn."""
    one["spec"]["template"]["spec"]["containers"][0]["image"] = wanted
    went: list[list[str]] = []
    for _ in range(12):
        before = set(world.objects["pods"])
        world.act(one, stateful_sets.plan(one, world.pods_and_revisions, world.now))
        went += [gone] if (gone := sorted(before - set(world.objects["pods"]))) else []
        for pod in world.pods:
            world.ready(pod)
    return went


def test_a_stateful_set_has_a_revision_for_each_template_and_an_old_one_again_when_it_comes_back() -> None:
    world, one = World(), owner("StatefulSet", replicas=2, revisionHistoryLimit=2)
    one["metadata"]["annotations"] = {"kubernetes.io/change-cause": "the first"}
    for number in (1, 2, 3, 2, 4, 5):
        renewed(world, one, f"i:{number}")
    kept = sorted(world.objects[REVISIONS].values(), key=lambda each: each["revision"])
    images = [image(each["data"]["spec"]["template"]) for each in kept]
    assert (images, [each["revision"] for each in kept]) == (["i:2", "i:4", "i:5"], [4, 5, 6])
    assert kept[0]["metadata"]["labels"]["app"] == "a"
    assert kept[0]["metadata"]["annotations"] == {"kubernetes.io/change-cause": "the first"}
    assert one["status"]["currentRevision"] == one["status"]["updateRevision"] == kept[-1]["metadata"]["name"]


def test_below_its_partition_a_stateful_set_makes_pods_of_the_template_that_they_had() -> None:
    world, one = World(), owner("StatefulSet", replicas=4, ordinals={"start": 5})
    renewed(world, one, "i:1")
    one["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    assert renewed(world, one, "i:2") == [["it-8"], ["it-7"]]
    del world.objects["pods"]["it-5"], world.objects["pods"]["it-8"]
    renewed(world, one, "i:2")
    assert {name: image(pod) for name, pod in world.objects["pods"].items()} == {
        "it-5": "i:1",
        "it-6": "i:1",
        "it-7": "i:2",
        "it-8": "i:2",
    }
    assert (one["status"]["currentReplicas"], one["status"]["updatedReplicas"]) == (2, 2)


def test_a_stateful_set_renews_so_many_pods_at_once_as_may_be_unavailable() -> None:
    world, one = World(), owner("StatefulSet", replicas=5, podManagementPolicy="Parallel")
    renewed(world, one, "i:1")
    one["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "40%"}}
    assert renewed(world, one, "i:2") == [["it-3", "it-4"], ["it-1", "it-2"], ["it-0"]]


HUGE = 2**31 - 1


@pytest.mark.parametrize(
    "spec",
    [
        {"completionMode": "Indexed", "completions": HUGE, "parallelism": HUGE},
        {"completions": HUGE, "parallelism": HUGE},
        {"completions": None, "parallelism": HUGE},
    ],
)
def test_a_job_of_any_size_makes_a_bounded_number_of_pods_at_once_and_goes_on(spec: Json) -> None:
    world, one = World(), job(**spec)
    for number in (1, 2):
        passed(world, one)
        assert len(world.pods) == number * BURST
    found = {jobs.index_of(pod) for pod in world.pods}
    assert found == (set(range(2 * BURST)) if "completionMode" in spec else {-1})


@pytest.mark.parametrize(
    "text", ["0-99999999999", ",".join(["0-99999"] * 50_000), "9" * 5000, "-5,a,3-,\u0663,1-2-3", "5-2,,"]
)
def test_whatever_a_status_says_of_completed_indexes_a_job_is_planned_for(text: str) -> None:
    one = job(completionMode="Indexed", completions=3, parallelism=1)
    one["status"] = {"completedIndexes": text, "failedIndexes": text}
    assert len(set(jobs.ranges(text))) <= jobs.MOST_INDEXES
    assert passed(World(), one).status is not None


def test_a_parallel_stateful_set_of_any_size_makes_a_bounded_number_of_pods_at_once_and_goes_on() -> None:
    world, one = World(), owner("StatefulSet", replicas=HUGE, podManagementPolicy="Parallel")
    for number in (1, 2):
        world.act(one, stateful_sets.plan(one, world.pods_and_revisions, world.now))
        assert {stateful_sets.ordinal_of(pod) for pod in world.pods} == set(range(number * BURST))
