"""A container that was made on its cell when the controller was killed, before the pod's record told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.pods.pod_records import PodRecords
from controller.pods.run import PodRun, Running
from tests.support import manifests
from tests.support.cells_double import cells
from tests.support.pods_api import world


@pytest.mark.parametrize("started", [False, True], ids=["made", "started"])
async def test_the_next_controller_goes_on_with_it_and_does_not_take_it_for_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    run, reached = PodRecords.run, asyncio.Event()

    async def cut_off(records: PodRecords, uid: str, change: Callable[[PodRun], PodRun]) -> PodRun:
        known = records.get(uid)
        main = change(known.run).of("main") if known is not None else None
        if main is not None and (isinstance(main.state, Running) if started else main.id):
            reached.set()
            await asyncio.Event().wait()
        return await run(records, uid, change)

    async with cells() as fleet:
        async with world(tmp_path, fleet) as here:
            with monkeypatch.context() as patched:
                patched.setattr(PodRecords, "run", cut_off)
                await here.ok("apply", "-f", "-", stdin=manifests.pod("once", "sleep 1000", "Never"))
                await reached.wait()
        async with world(tmp_path, fleet) as here:
            await here.ok("wait", "--for=condition=Ready", "pod/once", "--timeout=15s")
            pod = json.loads(await here.ok("get", "pod", "once", "-o", "json"))
            (main,) = pod["status"]["containerStatuses"]
            assert (main["restartCount"], main["lastState"]) == (0, {})
            assert main["image"] == pod["spec"]["containers"][0]["image"]
            assert main["imageID"], main
            assert "definition changed" not in await here.ok("describe", "pod", "once")
