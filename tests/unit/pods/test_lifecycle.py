from typing import Any

from msgspec.structs import replace

from controller.objects.schema.pods import PodSpec
from controller.pods.container_start import running
from controller.pods.lifecycle import (
    Finish,
    Start,
    Wait,
    backing_off,
    backoff,
    begun,
    decide,
    ended,
    lost,
    made,
    not_prepared,
    not_started,
    settled,
)
from controller.pods.pod_status import status_of
from controller.pods.restarting import ALWAYS, NEVER
from controller.pods.run import ContainerRun, PodRun, Running, Terminated, Waiting
from controller.pods.stopping import turns
from tests.support.typed_pods import container_of, spec_of

WHOSE = "web_default(u-1)"


def spec(*names: str, init: tuple[str, ...] = (), policy: str = "Always", **more: Any) -> PodSpec:
    return spec_of(
        {
            "containers": [{"name": name, "image": "i"} for name in names],
            "initContainers": [{"name": name, "image": "i"} for name in init],
            "restartPolicy": policy,
            **more,
        }
    )


def run(**states: Any) -> PodRun:
    containers = {
        name: state if isinstance(state, ContainerRun) else ContainerRun(name=name, state=state)
        for name, state in states.items()
    }
    return PodRun(sandbox="s", cell="c-1", containers=containers)  # pyright: ignore[reportArgumentType]


def exit_of(code: int, at: float = 100.0, began: float = 99.0) -> Terminated:
    return Terminated(code, "Completed" if code == 0 else "Error", started_at=began, finished_at=at)


def test_all_containers_of_a_new_pod_start_in_order() -> None:
    assert decide(spec("a", "b"), PodRun(), 0) == (Start("a"), Start("b"))


def test_init_containers_run_one_after_another_before_the_rest() -> None:
    wanted = spec("main", init=("one", "two"))
    assert decide(wanted, PodRun(), 0) == (Start("one"),)
    assert decide(wanted, run(one=Running(1)), 2) == (Wait(),)
    assert decide(wanted, run(one=exit_of(0)), 101) == (Start("two"),)
    assert decide(wanted, run(one=exit_of(0), two=exit_of(0)), 101) == (Start("main"),)


def test_a_failed_init_container_ends_a_pod_that_never_restarts() -> None:
    (finish,) = decide(spec("main", init=("one",), policy="Never"), run(one=exit_of(3)), 101)
    assert isinstance(finish, Finish)
    assert finish.phase == "Failed"


def test_a_sidecar_starts_before_and_does_not_hold_the_end() -> None:
    wanted = sidecars("side", policy="Never")
    assert decide(wanted, PodRun(), 0) == (Start("side"),)
    side = ContainerRun(name="side", state=Running(1), started=True)
    assert decide(wanted, run(side=side), 2) == (Start("main"),)
    assert decide(wanted, run(side=side, main=exit_of(0)), 101) == (Finish("Succeeded"),)


def sidecars(*names: str, **more: Any) -> PodSpec:
    return spec(
        "main", initContainers=[{"name": name, "image": "i", "restartPolicy": "Always"} for name in names], **more
    )


def test_a_sidecar_that_crashes_later_holds_neither_the_end_nor_a_restart_back() -> None:
    crashed = ContainerRun(name="side", state=Waiting("CrashLoopBackOff"), retry_at=300, crashes=6)
    assert decide(sidecars("side", policy="Never"), run(side=crashed, main=exit_of(0)), 101) == (Finish("Succeeded"),)
    two = sidecars("side", containers=[{"name": "main", "image": "i"}, {"name": "other", "image": "i"}])
    states = run(side=crashed, main=Running(1), other=exit_of(1))
    assert decide(two, states, 101) == (Start("other"),)
    assert decide(two, run(side=crashed, main=exit_of(1), other=exit_of(1)), 101) == (Wait(300),)


def test_a_sidecar_whose_startup_probe_has_not_passed_holds_the_next_one_and_the_pod_pending() -> None:
    wanted = sidecars("one", "two")
    begins = run(one=ContainerRun(name="one", state=Running(1), started=False))
    assert decide(wanted, begins, 2) == (Wait(),)
    status = status_of(wanted, begins, {}, 2)
    assert status["phase"] == "Pending"
    assert {one["type"]: one["status"] for one in status["conditions"]}["Initialized"] == "False"
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    assert decide(wanted, run(one=ContainerRun(name="one", state=Running(1), started=True)), 2) == (Start("two"),)


def test_sidecars_stop_last_and_in_reverse_order() -> None:
    wanted = sidecars("one", "two", containers=[{"name": "main"}, {"name": "other"}])
    wanted = replace(wanted, initContainers=(*wanted.initContainers, container_of({"name": "once"})))
    assert turns(wanted) == {
        "once": (),
        "main": (),
        "other": (),
        "two": ("once", "main", "other"),
        "one": ("once", "main", "other", "two"),
    }


def having(name: str, policy: str, *rules: tuple[str, list[int]]) -> dict[str, Any]:
    listed = [{"action": "Restart", "exitCodes": {"operator": one, "values": codes}} for one, codes in rules]
    return {"name": name, "image": "i", "restartPolicy": policy, "restartPolicyRules": listed}


def test_a_container_has_a_restart_policy_of_its_own_and_rules_by_exit_code_before_it() -> None:
    wanted = spec(policy="Never", containers=[having("a", "Never", ("In", [42, 43]))])
    assert decide(wanted, run(a=exit_of(42)), 101) == (Start("a"),)
    assert decide(wanted, run(a=exit_of(1)), 101) == (Finish("Failed"),)
    wanted = spec(policy="Never", containers=[having("a", "Never", ("NotIn", [0, 3]))])
    assert decide(wanted, run(a=exit_of(7)), 101) == (Start("a"),)
    assert decide(wanted, run(a=exit_of(3)), 101) == (Finish("Failed"),)
    wanted = spec(policy="Never", containers=[having("a", "OnFailure"), {"name": "b", "image": "i"}])
    assert decide(wanted, run(a=exit_of(0), b=exit_of(1)), 101) == (Finish("Failed"),)
    assert decide(wanted, run(a=exit_of(1), b=exit_of(0)), 101) == (Start("a"),)
    always = spec(containers=[having("a", "Never"), {"name": "b", "image": "i"}])
    assert decide(always, run(a=exit_of(1), b=Running(1)), 101) == (Wait(),)


def test_an_init_container_may_end_its_pod_or_be_repeated_by_rules_of_its_own() -> None:
    wanted = spec("main", initContainers=[having("one", "Never", ("In", [42]))])
    assert decide(wanted, run(one=exit_of(42)), 101) == (Start("one"),)
    assert decide(wanted, run(one=exit_of(0)), 101) == (Start("main"),)
    (end,) = decide(wanted, run(one=exit_of(1)), 101)
    assert isinstance(end, Finish)
    assert end.phase == "Failed"
    wanted = spec("main", initContainers=[having("one", "Never", ("In", [0]))])
    assert decide(wanted, run(one=exit_of(0)), 101) == (Start("main"),), "a success is not repeated"


def test_restart_policies_decide_what_an_end_means() -> None:
    assert decide(spec("a", policy="Never"), run(a=exit_of(0)), 101) == (Finish("Succeeded"),)
    assert decide(spec("a", policy="Never"), run(a=exit_of(1)), 101) == (Finish("Failed"),)
    assert decide(spec("a", policy="OnFailure"), run(a=exit_of(0)), 101) == (Finish("Succeeded"),)
    assert decide(spec("a", policy="OnFailure"), run(a=exit_of(1)), 101) == (Start("a"),)
    assert decide(spec("a", policy="Always"), run(a=exit_of(0)), 101) == (Start("a"),)


def test_the_back_off_is_the_kubelets() -> None:
    assert [backoff(crashes) for crashes in range(1, 9)] == [0, 10, 20, 40, 80, 160, 300, 300]


def test_the_second_crash_waits_ten_seconds_and_says_so() -> None:
    one = ended(ContainerRun(name="a"), exit_of(1), policy=ALWAYS, whose=WHOSE)
    assert isinstance(one.state, Terminated)
    assert decide(spec("a"), run(a=one), 100) == (Start("a"),)
    two = ended(one, exit_of(1, 102, 101), policy=ALWAYS, whose=WHOSE)
    assert two.state == Waiting("CrashLoopBackOff", f"back-off 10s restarting failed container=a pod={WHOSE}", 102)
    assert two.last == exit_of(1, 102, 101)
    assert decide(spec("a"), run(a=two), 103) == (Wait(112),)
    assert decide(spec("a"), run(a=two), 112) == (Start("a"),)


def test_ten_minutes_of_running_are_forgiveness() -> None:
    worn = ContainerRun(name="a", crashes=7)
    assert ended(worn, exit_of(1, at=1000, began=300), policy=ALWAYS, whose=WHOSE).crashes == 1


def test_an_image_error_becomes_a_back_off_that_keeps_the_cause() -> None:
    one = not_prepared(ContainerRun(name="a"), "ErrImagePull", "no such tag", 100)
    assert one.state == Waiting("ErrImagePull", "no such tag", 100)
    assert decide(spec("a"), run(a=one), 101) == (Wait(103),)
    later = settled(spec("a"), run(a=one), 103, WHOSE)
    state = later.of("a").state
    assert isinstance(state, Waiting)
    assert state.reason == "ImagePullBackOff"
    assert "no such tag" in state.message
    assert [told.name for told in backing_off(spec("a"), run(a=one), later)] == ["a"]
    assert backing_off(spec("a"), later, later) == [], "that is told once each time"
    assert decide(spec("a"), later, 104) == (Wait(110),)


def test_a_container_that_waited_long_for_its_image_is_started_again_at_once_after_its_first_end() -> None:
    waiting = ContainerRun(name="a")
    for at in (100, 110, 130, 170, 250):
        waiting = not_prepared(waiting, "ErrImagePull", "no such tag", at)
    assert waiting.retry_at == 410, "as often as a kubelet, twice as long each time"
    works = running(container_of({"name": "a"}), made(begun(waiting, 410), "x"), 411)
    over = ended(works, exit_of(1, at=420, began=411), policy=ALWAYS, whose=WHOSE)
    assert decide(spec("a"), run(a=over), 420) == (Start("a"),)
    again = not_prepared(over, "ErrImagePull", "no such tag", 430)
    assert again.retry_at == 440, "nor does one that ended wait for longer for its image"


def test_a_cell_waits_for_an_image_as_long_as_is_set_and_not_longer() -> None:
    first = not_prepared(ContainerRun(name="a"), "ErrImagePull", "no such tag", 100)
    again = not_prepared(first, "ErrImagePull", "no such tag", 130)
    assert decide(spec("a"), run(a=again), 149, 50) == (Wait(150),)
    (end,) = decide(spec("a"), run(a=again), 150, 50)
    assert isinstance(end, Finish)
    assert (end.phase, end.reason) == ("Failed", "ImagePullBackOff")
    assert "api.image_patience" in end.message
    # For ever where nothing is set, while another container works, and once the image has come.
    assert isinstance(decide(spec("a"), run(a=again), 150)[0], Start)
    working = decide(spec("a", "b"), run(a=again, b=Running(90)), 150, 50)
    assert working == (Start("a"),)
    assert not isinstance(decide(spec("a"), run(a=begun(again, 140)), 150, 50)[0], Finish)


def test_a_command_that_is_not_there_shows_the_runtimes_words() -> None:
    one = not_started(ContainerRun(name="a"), "exec: no such file", 100, policy=ALWAYS)
    assert one.state == Waiting("RunContainerError", "exec: no such file", 100)
    assert one.last is not None
    assert (one.last.reason, one.last.exit_code) == ("StartError", 128)
    never = not_started(ContainerRun(name="a"), "exec: no such file", 100, policy=NEVER)
    assert decide(spec("a", policy="Never"), run(a=never), 100) == (Finish("Failed"),)


def test_the_active_deadline_ends_the_pod() -> None:
    wanted = spec("a", activeDeadlineSeconds=5)
    began = replace(run(a=Running(1)), started_at=1.0)
    assert decide(wanted, began, 3) == (Wait(6),)
    (finish,) = decide(wanted, began, 6)
    assert isinstance(finish, Finish)
    assert finish.reason == "DeadlineExceeded"


def test_a_lost_cell_means_anew_for_always_and_failure_for_the_rest() -> None:
    before = run(a=ContainerRun(name="a", state=Running(1), id="x", starts=1, restarts=0))
    anew = lost(spec("a"), before, "silent for 40 s", 50)
    assert (anew.attempt, anew.cell, anew.of("a").starts) == (1, "", 1)
    last = anew.of("a").last
    assert last is not None
    assert last.reason == "CellLost"
    failed = lost(spec("a", policy="OnFailure"), before, "silent for 40 s", 50)
    assert (failed.phase, failed.reason) == ("Failed", "CellLost")
    state = failed.of("a").state
    assert isinstance(state, Terminated)
    assert state.reason == "CellLost"


def test_status_moves_from_pending_to_running_and_keeps_its_transition_times() -> None:
    wanted = spec("a")
    first = status_of(wanted, PodRun(), {}, 10)
    assert first["phase"] == "Pending"
    assert [one["type"] for one in first["conditions"]] == ["PodScheduled"]
    ready = ContainerRun(name="a", state=Running(12), started=True, ready=True, id="x")
    second = status_of(wanted, run(a=ready), first, 12)
    assert second["phase"] == "Running"
    assert {one["type"]: one["status"] for one in second["conditions"]} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True"
    )
    third = status_of(wanted, run(a=replace(ready, ready=False)), second, 20)
    times = {one["type"]: one["lastTransitionTime"] for one in third["conditions"]}
    assert times["Ready"] > times["Initialized"]


def test_the_first_end_of_a_container_is_told_after_it_was_started_again_at_once() -> None:
    first = ended(ContainerRun(name="a", state=Running(99)), exit_of(3), policy=ALWAYS, whose=WHOSE)
    assert first.state == exit_of(3)
    again = begun(first, 101.0)
    assert isinstance(again.state, Waiting), "who is killed now finds the container that it made"
    for one in (
        again,
        running(container_of({"name": "a"}), again, 101.0),
        not_prepared(first, "ErrImagePull", "gone", 101.0),
    ):
        (status,) = status_of(spec("a"), run(a=one), {}, 102)["containerStatuses"]
        assert status["lastState"]["terminated"]["exitCode"] == 3


def test_a_start_that_came_to_no_container_is_no_restart() -> None:
    """As where the disk of the records is full: it is begun again, for its number is used up."""
    first = made(begun(not_prepared(begun(ContainerRun(name="a"), 1.0), "CreateContainerError", "full", 2.0), 3.0), "x")
    assert (first.starts, first.restarts) == (2, 0)
    crashed = ended(
        running(container_of({"name": "a"}), first, 4.0),
        replace(exit_of(3), container_id="x"),
        policy=ALWAYS,
        whose=WHOSE,
    )
    tried = begun(not_prepared(begun(crashed, 6.0), "CreateContainerError", "full", 7.0), 8.0)
    assert tried.restarts == 0
    again = made(tried, "y")
    assert (again.starts, again.restarts) == (4, 1)
    assert made(again, "y") == again, "whoever finds it after a restart of the controller does not count it again"


def test_a_cell_that_was_lost_costs_one_restart() -> None:
    before = run(a=made(begun(ContainerRun(name="a"), 1.0), "x"))
    anew = lost(spec("a"), before, "silent for 40 s", 50).of("a")
    assert made(begun(anew, 60.0), "y").restarts == 1


def test_a_crashing_container_keeps_the_pod_running() -> None:
    crashed = ContainerRun(name="a", state=Waiting("CrashLoopBackOff"), last=exit_of(1), restarts=1)
    status = status_of(spec("a"), run(a=crashed), {}, 1)
    assert status["phase"] == "Running"
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"


def test_a_back_off_that_was_reckoned_while_the_clock_was_ahead_is_over_once_it_is_right() -> None:
    hour, now = 3600.0, 1000.0
    waiting = not_prepared(ContainerRun(name="main"), "ErrImagePull", "no registry", now + hour)
    assert decide(spec("main"), run(main=waiting), now) == (Start("main"),)
    ahead = not_prepared(ContainerRun(name="main"), "ErrImagePull", "no registry", now + 5)
    assert decide(spec("main"), run(main=ahead), now) != (Start("main"),), "clocks differ by seconds"
