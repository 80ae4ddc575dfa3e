"""Which file `kubectl logs` reads, and when it is told that there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault
from controller.pods.log_files import Logs
from controller.pods.run import ContainerRun, PodRun, Running, State, Terminated, Waiting

POD: dict[str, Any] = {"metadata": {"name": "web", "uid": "u-1"}}


def run(state: State, starts: int) -> PodRun:
    return PodRun(containers={"main": ContainerRun(name="main", state=state, starts=starts)})


@pytest.mark.parametrize("state", [Running(1.0), Terminated(137, "ContainerStatusUnknown")])
def test_a_container_that_has_begun_has_a_log_be_it_that_none_of_it_has_come(tmp_path: Path, state: State) -> None:
    # As where it ended, or its cell was lost, while the controller was away.
    assert Logs(tmp_path).file(POD, run(state, 1), "main", previous=False).read_bytes() == b""


@pytest.mark.parametrize("state", [Waiting(), Terminated(137, "ContainerStatusUnknown")])
def test_one_that_has_not_begun_has_none(tmp_path: Path, state: State) -> None:
    with pytest.raises(Fault, match='container "main" in pod "web" is waiting to start: ContainerCreating'):
        Logs(tmp_path).file(POD, run(state, 0), "main", previous=False)
