"""A cell that is claimed for a pod only after the pod is gone, or over, is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.model.names import CellName
from controller.pods.pod_records import PodRecords
from controller.pods.run import PodRun
from tests.support import manifests
from tests.support.cells_double import cells
from tests.support.pods_api import world
from tests.support.waiting import until


async def test_a_claim_that_is_written_down_when_its_pod_is_gone_leaves_no_cell(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as here:
        await here.ok("apply", "-f", "-", stdin=manifests.pod("brief", "sleep 1000"))
        await here.ok("wait", "--for=condition=Ready", "pod/brief", "--timeout=15s")
        (cell,) = fleet.cells.values()
        assert cell.claim is not None
        await here.ok("delete", "pod", "brief", "--grace-period=1")
        assert fleet.released == [cell.name]
        # As the fleet does, which ends what it has begun though the pod's work was cancelled meanwhile.
        late = await fleet.claim(cell.claim)
        await until(lambda: fleet.released == [cell.name, late.name])


async def test_a_claim_that_is_written_down_when_its_pod_is_over_leaves_no_cell(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as here:
        await here.ok("apply", "-f", "-", stdin=manifests.pod("once", "sleep 1", "Never"))
        await until(lambda: bool(fleet.cells))
        (cell,) = fleet.cells.values()
        assert cell.claim is not None
        await here.ok("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/once", "--timeout=15s")
        await until(lambda: fleet.released == [cell.name])
        late = await fleet.claim(cell.claim)
        await until(lambda: fleet.released == [cell.name, late.name])


@pytest.mark.parametrize("script", ["sleep 1000", "sleep 1"], ids=["is deleted", "is over"])
async def test_a_claim_that_is_written_down_just_before_the_end_of_its_pod_leaves_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    remove, run, late = PodRecords.remove, PodRecords.run, list[CellName]()

    async with cells() as fleet, world(tmp_path, fleet) as here:

        async def claim(uid: str) -> None:
            claims = [cell.claim for cell in first if cell.claim is not None and cell.claim.pod.uid == uid]
            if not late:
                late.append((await fleet.claim(claims[0])).name)
            while any(not news.empty() for news in fleet.watchers):
                await asyncio.sleep(0)

        async def removed(records: PodRecords, uid: str) -> None:
            await claim(uid)
            await remove(records, uid)

        async def changed(records: PodRecords, uid: str, change: Callable[[PodRun], PodRun]) -> PodRun:
            known = records.get(uid)
            if known is not None and change(known.run).released and not known.run.released:
                await claim(uid)
            return await run(records, uid, change)

        monkeypatch.setattr(PodRecords, "remove", removed)
        monkeypatch.setattr(PodRecords, "run", changed)
        await here.ok("apply", "-f", "-", stdin=manifests.pod("brief", script, "Never"))
        await until(lambda: bool(fleet.cells))
        first = tuple(fleet.cells.values())
        if script == "sleep 1000":
            await here.ok("wait", "--for=condition=Ready", "pod/brief", "--timeout=15s")
            await here.ok("delete", "pod", "brief", "--grace-period=1")
        await until(lambda: late and fleet.released == [first[0].name, *late])


async def test_the_cell_of_a_pod_that_lives_stays(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as here:
        await here.ok("apply", "-f", "-", stdin=manifests.pod("web", "sleep 1000"))
        await here.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=15s")
        assert not fleet.released
