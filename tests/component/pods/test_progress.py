"""What happens on a pod's cell is told by `kubectl describe`."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.link.report_checks import Happened, Pull
from controller.sandboxes import progress
from tests.support.pods_api import world

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: main, image: "web:1", command: [sleep, "100"]}]}
"""


async def test_how_far_a_pull_is_and_that_a_cell_is_not_believed_are_events_of_the_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EACH_SECONDS", 0.0)
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=POD)
        await it.until("Running", "get", "pod", "web")
        (cell,) = it.fleet.cells
        for done in (1, 43):
            pull = Pull(image="web:1", bytes_done=done << 20, bytes_total=100 << 20)
            it.fleet.happened.put_nowait((cell, Happened(at=1.0, reason="Pulling", message="", pull=pull)))
        warning = Happened(at=1.0, reason="NotBelieved", message="it lies", warning=True)
        it.fleet.happened.put_nowait((cell, warning))
        shown = await it.until("it lies", "describe", "pod", "web")
        assert 'Pulling image "web:1": 43 % of 100.0 MiB' in shown
