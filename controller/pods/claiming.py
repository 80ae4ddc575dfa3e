"""The claims of one pod: a cell for each attempt. Nothing is launched here: the fleet does that, by what is claimed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from msgspec.structs import replace

from cellwire.faults import Fault
from controller.choice.requirements import PREFIX
from controller.model.names import CellName
from controller.model.pod import PodClaim
from controller.pods import bought, lifecycle
from controller.pods.pod_adoption import OWNER
from controller.pods.run import PodRecord, PodRun
from controller.pods.surroundings import Surroundings
from controller.pods.translate import sandbox_config
from controller.pods.volume_claims import places
from controller.sandboxes.sandbox_lifecycle import claim_of

# Seconds until a cell that could not be had is asked for again: at first, and at most.
CLAIM_AGAIN, CLAIM_AGAIN_AT_MOST = 5.0, 60.0


class Claiming:
    """Claims the cells of one pod."""

    def __init__(self, uid: str, around: Surroundings) -> None:
        self._uid = uid
        self._around = around

    @property
    def _record(self) -> PodRecord:
        record = self._around.records.get(self._uid)
        if record is None:
            raise KeyError(self._uid)
        return record

    async def claim(self) -> CellName:
        """A cell for this attempt; waits for it, and says why where it takes long."""
        again = CLAIM_AGAIN
        while not self._record.run.cell:
            record, run = self._record, self._record.run
            try:
                cell = await self._around.cells.claim(await self._claim_of(record, run))
            except Fault as fault:
                self._around.recorder.warning(record.shown, "FailedScheduling", str(fault))
                await self._set(lambda run, why=str(fault): replace(run, unschedulable=why))
                await asyncio.sleep(again)
                again = min(again * 2, CLAIM_AGAIN_AT_MOST)
                continue
            now = self._around.now()
            await self._set(
                lambda run, cell=cell, now=now: replace(
                    run,
                    cell=cell.name,
                    cell_address=cell.address,
                    shown=bought.shown(cell),
                    started_at=run.started_at or now,
                    unschedulable="",
                )
            )
            self._around.recorder.normal(self._record.shown, "Scheduled", bought.assigned(self._record.pod, cell))
        return self._record.run.cell

    async def _claim_of(self, record: PodRecord, run: PodRun) -> PodClaim:
        pod = record.pod
        places(pod, self._around.library.lookup)  # what waits for a volume has no cell meanwhile
        demand = self._around.demand(pod.spec)
        images = tuple(dict.fromkeys(container.image for container, _ in lifecycle.containers_of(pod.spec)))
        if not demand.architectures and f"{PREFIX}architecture" not in pod.metadata.annotations:
            demand = replace(demand, architectures=await self._around.images.architectures(images))
        return claim_of(sandbox_config(pod, run, self._around.identity.domain), demand, OWNER, images)

    async def claim_ahead(self) -> None:
        """Ask for the cell of the next attempt, so that it is there when this one has ended."""
        record, run = self._record, self._record.run
        with contextlib.suppress(Fault):  # it is told when the pod itself waits for it
            await self._around.cells.claim(await self._claim_of(record, replace(run, attempt=run.attempt + 1)))

    async def _set(self, change: Callable[[PodRun], PodRun]) -> PodRun:
        return await self._around.records.run(self._uid, change)
