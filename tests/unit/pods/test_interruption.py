"""What becomes of a pod whose instance will be taken."""

from __future__ import annotations

from controller.pods.lifecycle import lost
from controller.pods.run import ContainerRun, PodRun, Running, Terminated, Waiting
from tests.support.typed_pods import spec_of

T = 10_000.0
SPEC = {"containers": [{"name": "web"}, {"name": "idle"}]}


def run() -> PodRun:
    ended = Terminated(143, "Interrupted", "why", started_at=T - 50, finished_at=T + 1, container_id="a")
    crashing = ContainerRun(name="web", id="a", state=Waiting("CrashLoopBackOff"), last=ended, starts=3, restarts=2)
    hanging = ContainerRun(name="idle", id="b", state=Running(T - 50), starts=1)
    return PodRun(attempt=4, cell="c-1", sandbox="s", containers={"web": crashing, "idle": hanging})  # type: ignore[arg-type]


def test_a_pod_that_always_restarts_runs_anew_and_keeps_how_its_containers_ended() -> None:
    after = lost(spec_of({**SPEC, "restartPolicy": "Always"}), run(), "why", T + 5, "Interrupted")

    assert (after.attempt, after.cell, after.sandbox, after.phase) == (5, "", "", "")
    web, idle = after.of("web").last, after.of("idle").last
    assert web is not None
    assert (web.exit_code, web.reason, web.message) == (143, "Interrupted", "why")
    assert idle is not None
    assert (idle.exit_code, idle.reason) == (137, "Interrupted"), "it did not end in time"
    assert after.of("web").starts == 3, "a log file and an attempt are never used twice"


def test_a_pod_that_never_restarts_has_failed_and_says_why() -> None:
    after = lost(spec_of({**SPEC, "restartPolicy": "Never"}), run(), "why", T + 5, "Interrupted")

    assert (after.phase, after.reason, after.message, after.attempt) == ("Failed", "Interrupted", "why", 4)


def test_a_container_that_had_ended_before_keeps_its_reason() -> None:
    done = ContainerRun(name="web", id="a", state=Terminated(0, "Completed", finished_at=T - 1), starts=1)
    spec = spec_of({"containers": [{"name": "web"}], "restartPolicy": "Never"})
    after = lost(spec, PodRun().having(done), "w", T, "Interrupted")

    assert after.of("web").state == done.state
