"""What a kubelet is told of a container never goes back in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.sandboxes import reducer

STATES = st.sampled_from([cri.CONTAINER_CREATED, cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED, cri.CONTAINER_UNKNOWN])


def container(state: cri.ContainerState.ValueType, exit_code: int = 0) -> cri.ContainerStatus:
    return cri.ContainerStatus(id="c", state=state, exit_code=exit_code, log_path="/var/log/pods/x/0.log")


@given(news=st.lists(st.tuples(STATES, st.integers(0, 255)), max_size=8))
def test_an_exited_container_keeps_its_first_exit_code(news: list[tuple[cri.ContainerState.ValueType, int]]) -> None:
    known = reducer.next_container(container(cri.CONTAINER_RUNNING), container(cri.CONTAINER_EXITED, 7))
    for state, code in news:
        known = reducer.next_container(known, container(state, code))
    assert (known.state, known.exit_code) == (cri.CONTAINER_EXITED, 7)


def test_a_container_that_runs_is_not_merely_created_again() -> None:
    known = reducer.next_container(container(cri.CONTAINER_RUNNING), container(cri.CONTAINER_CREATED))
    assert known.state == cri.CONTAINER_RUNNING


def test_the_log_path_stays_the_kubelets_own() -> None:
    news = container(cri.CONTAINER_RUNNING)
    news.log_path = "/on/the/cell.log"
    assert reducer.next_container(container(cri.CONTAINER_CREATED), news).log_path == "/var/log/pods/x/0.log"


def test_a_new_container_is_what_was_asked_for_and_of_its_cell_only_what_that_alone_knows() -> None:
    volume = cri.Mount(container_path="/models", image=cri.ImageSpec(image="models:1"))
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="main", attempt=2),
        image=cri.ImageSpec(image="sha256:of-the-kubelet", user_specified_image="web:1"),
        mounts=[cri.Mount(container_path="/etc/x", host_path="/var/lib/kubelet/x"), volume],
        labels={"app": "web"},
    )
    named = reducer.named_container("c", config, "/var/log/pods/x/0.log")
    told = cri.ContainerStatus(
        id="c",
        metadata=cri.ContainerMetadata(name="other"),
        state=cri.CONTAINER_RUNNING,
        created_at=5,
        started_at=6,
        image=cri.ImageSpec(image="another:1"),
        image_id="sha256:1",
        image_ref="web@sha256:2",
        labels={"app": "other"},
        mounts=[cri.Mount(host_path="/on/the/cell"), cri.Mount(image=cri.ImageSpec(image_ref="sha256:3"))],
        log_path="/on/the/cell.log",
        stop_signal=cri.SIGNAL_SIGQUIT,
    )
    told.user.linux.uid = 1000
    made = reducer.made_container(named, told)
    assert (made.id, made.metadata, made.image, made.log_path) == ("c", config.metadata, config.image, named.log_path)
    assert (made.state, made.created_at, made.started_at) == (cri.CONTAINER_CREATED, 5, 0)
    assert (made.image_id, made.image_ref, made.stop_signal) == ("sha256:1", "web@sha256:2", cri.SIGNAL_SIGQUIT)
    assert (made.user.linux.uid, dict(made.labels)) == (1000, {"app": "web"})
    assert [one.host_path for one in made.mounts] == ["/var/lib/kubelet/x", ""]
    assert made.mounts[1].image.image_ref == "sha256:3"


def test_a_container_whose_cell_is_lost_has_exited_with_that_reason() -> None:
    gone = reducer.lost(container(cri.CONTAINER_RUNNING), "cell c-1: no heartbeat for 30 s", now=12.0)
    assert (gone.state, gone.reason, gone.finished_at) == (cri.CONTAINER_EXITED, "CellLost", 12_000_000_000)
    assert "no heartbeat" in gone.message


def test_a_container_that_had_exited_before_its_cell_was_lost_keeps_its_exit_code() -> None:
    assert reducer.lost(container(cri.CONTAINER_EXITED, 3), "gone", now=12.0).exit_code == 3


def test_a_stopped_sandbox_is_never_ready_again() -> None:
    stopped = reducer.not_ready(cri.PodSandboxStatus(id="s", state=cri.SANDBOX_READY))
    again = reducer.next_sandbox(stopped, cri.PodSandboxStatus(id="s", state=cri.SANDBOX_READY))
    assert again.state == cri.SANDBOX_NOTREADY
