"""A cell that is claimed for a pod only after the pod is gone, or over, is given back."""

from __future__ import annotations

from pathlib import Path

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


async def test_the_cell_of_a_pod_that_lives_stays(tmp_path: Path) -> None:
    async with cells() as fleet, world(tmp_path, fleet) as here:
        await here.ok("apply", "-f", "-", stdin=manifests.pod("web", "sleep 1000"))
        await here.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=15s")
        assert not fleet.released
