"""Which log is shown of a container that was started several times, and while its next start is under way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault
from controller.pods import lifecycle
from controller.pods.log_files import Logs
from controller.pods.restarting import ALWAYS
from controller.pods.run import ContainerRun, PodRun, Terminated

POD: dict[str, Any] = {"metadata": {"name": "p", "uid": "u"}}


def crashed(one: ContainerRun, at: float) -> ContainerRun:
    """The container after another start of it that failed."""
    begun = lifecycle.begun(one, at)
    end = Terminated(exit_code=2, reason="Error", started_at=at, finished_at=at + 1)
    return lifecycle.ended(lifecycle.made(begun, f"id-{begun.starts}"), end, policy=ALWAYS, whose="p")


def test_the_log_of_the_last_start_is_shown_until_the_next_one_has_its_own(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    one = ContainerRun(name="a")

    def shown(*, previous: bool) -> str:
        return logs.file(POD, PodRun(containers={"a": one}), "a", previous=previous).name

    for number in range(2):
        one = crashed(one, 100.0 * number)
        path, _ = logs.begin("u", "a", number)
        path.touch()
    assert (shown(previous=False), shown(previous=True)) == ("1.log", "1.log")
    one = lifecycle.begun(one, 300.0)
    assert (shown(previous=False), shown(previous=True)) == ("1.log", "1.log")
    one = lifecycle.made(one, "id-3")
    assert (shown(previous=False), shown(previous=True)) == ("1.log", "1.log")


def test_a_first_start_has_none_before_it(tmp_path: Path) -> None:
    one = lifecycle.begun(ContainerRun(name="a"), 1.0)
    for previous in (True, False):
        with pytest.raises(Fault, match="not found" if previous else "is waiting to start"):
            Logs(tmp_path).file(POD, PodRun(containers={"a": one}), "a", previous=previous)
