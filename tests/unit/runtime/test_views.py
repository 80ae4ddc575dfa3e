"""Records as CRI tells them: signals, endings, filters."""

from __future__ import annotations

import signal

import pytest

from cellagent.runtime import views
from cellagent.runtime.ledger import ContainerEntry, Phase
from cellwire.cri.v1 import runtime_pb2 as cri


def record(**changes: object) -> ContainerEntry:
    config = cri.ContainerConfig(labels={"app": "web", "tier": "front"})
    fields: dict[str, object] = {
        "id": "abcdef",
        "sandbox_id": "pod1",
        "config": config.SerializeToString(),
        "image_id": "sha256:1",
        "image_ref": "x",
        "created_at": 1,
        **changes,
    }
    return ContainerEntry(**fields)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", signal.SIGTERM),
        ("usr1", signal.SIGUSR1),
        ("9", 9),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMINPLUS3", signal.SIGRTMIN + 3),
        ("SIGRTMAXMINUS2", signal.SIGRTMAX - 2),
        ("SIGCLD", signal.SIGCHLD),
        ("nonsense", signal.SIGTERM),
        ("٩", signal.SIGTERM),
        ("RTMIN+٣", signal.SIGTERM),
        ("RTMIN+-3", signal.SIGTERM),
        ("RTMIN+1_0", signal.SIGTERM),
    ],
)
def test_stop_signals_are_understood_as_images_and_cri_write_them(name: str, number: int) -> None:
    assert views.signal_number(name) == number


@pytest.mark.parametrize("value", [value for value in cri.Signal.values() if value])
def test_every_signal_of_cri_survives_the_way_there_and_back(value: int) -> None:
    name = cri.Signal.Name(value).removeprefix("SIGNAL_")  # pyright: ignore[reportArgumentType]
    assert views.stop_signal_value(name) == value
    assert views.signal_number(name) > 0


def test_endings_have_the_reasons_that_a_kubelet_knows() -> None:
    assert views.ending(0, oom_killed=False)[0] == "Completed"
    assert views.ending(1, oom_killed=False)[0] == "Error"
    assert views.ending(137, oom_killed=True)[0] == "OOMKilled"
    assert views.ending(0, oom_killed=True)[0] == "Completed"
    assert views.ending(255, oom_killed=False, known=False)[0] == "Unknown"


def test_a_filter_asks_for_everything_it_says() -> None:
    one = record(phase=Phase.RUNNING)
    running = cri.ContainerStateValue(state=cri.CONTAINER_RUNNING)
    created = cri.ContainerStateValue(state=cri.CONTAINER_CREATED)
    assert views.container_wanted(one, cri.ContainerFilter())
    assert views.container_wanted(one, cri.ContainerFilter(id="abc", pod_sandbox_id="pod1", state=running))
    assert views.container_wanted(one, cri.ContainerFilter(label_selector={"app": "web"}))
    assert not views.container_wanted(one, cri.ContainerFilter(label_selector={"app": "web", "tier": "back"}))
    assert not views.container_wanted(one, cri.ContainerFilter(state=created))
    assert not views.container_wanted(one, cri.ContainerFilter(id="b"))
