"""Images that were pulled without a pod, as `crictl pull` does: they live on a cell of their own while anybody cares.

A kubelet never pulls so. To it these are what images loaded onto a node beforehand are: present, and open to every
pod; a pod's own cell then pulls what it lacks, without credentials. The cell is given back when no image has been
pulled or removed for a while, and its images are gone with it. What a kubelet asks, the list and whether an image is
there, is answered from here: a cell that has gone silent must not hold up pods that want nothing of it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress

import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.clouds.protocol import LoginOf
from controller.fleet.cells import Cells
from controller.model.cell import Cell
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes.cell_calls import PATIENCE, is_over
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.pulling import logged_in

log = structlog.get_logger()
CLAIMED_BY = "shim-images"
DEMAND = Demand(cpu_millis=100, memory_mib=128)
IDLE = 600.0
DEADLINE = 30.0
# A kubelet waits for the answer, and its pods with it.
LIST_DEADLINE = 2.0


class Stock:
    """The images without a pod, and the cell that holds them, if there is one."""

    def __init__(self, cells: Cells, login: LoginOf | None) -> None:
        self._cells = cells
        self._login = login
        self._claiming = asyncio.Lock()
        self._used = time.monotonic()
        # None: not known in this life of the controller.
        self._images: tuple[cri.Image, ...] | None = None
        # A cell of an earlier life of the controller goes on.
        mine = (one for one in cells.list() if one.claim is not None and one.claim.by == CLAIMED_BY)
        self._cell: CellName | None = next((one.name for one in mine if not is_over(one)), None)

    async def pull(self, request: cri.PullImageRequest) -> str:
        """Pull for nobody in particular; the image's id. Raises Fault."""
        self._used = time.monotonic()
        wanted = await logged_in(request, self._login)  # before there is a cell that has to be paid for
        there = await self._claimed()
        try:
            image = await there.pull_image(wanted)
            await self._look_again()
        finally:
            self._used = time.monotonic()
        return image

    async def described(self, spec: cri.ImageSpec) -> cri.ImageStatusResponse:
        """The image with all that its cell knows of it, if it is here. Raises Fault."""
        there = self._there()
        if there is None or not spec.image:
            return cri.ImageStatusResponse()
        return await there.described(cri.ImageStatusRequest(image=spec, verbose=True))

    async def list(self) -> tuple[cri.Image, ...]:
        """All images that are here; none while that is not known. The cell is asked once in a life of ours."""
        if self._alive() is None:
            return ()
        if self._images is None:
            with suppress(Fault):
                await self._look(LIST_DEADLINE)
        return self._images or ()

    async def remove(self, spec: cri.ImageSpec) -> None:
        """Remove an image. What is not here is removed already. Raises Fault."""
        there = self._there()
        if there is not None:
            self._used = time.monotonic()
            await there.remove_image(spec)
            await self._look_again()

    async def release_idle(self) -> None:
        """Give the cell back once nobody has pulled or removed for long."""
        cell = self._alive()
        if cell is not None and time.monotonic() - self._used > IDLE:
            log.info("giving back the cell of images that were pulled without a pod", cell=cell.name)
            self._cell = self._images = None
            await self._cells.release(cell.name, "no image was pulled without a pod for a while")

    async def _look_again(self) -> None:
        """After a change, which has succeeded even if the cell cannot tell of it now: the next list asks then."""
        self._images = None
        with suppress(Fault):
            await self._look()

    async def _look(self, deadline: float = DEADLINE) -> None:
        there = self._there()
        if there is not None:
            self._images = await there.images(deadline)

    async def _claimed(self) -> OneCell:
        async with self._claiming:
            if self._alive() is None:
                pod = PodRef(uid=PodUid(f"images-{secrets.token_hex(4)}"), namespace="chinampa", name="images")
                self._cell = (await self._cells.claim(PodClaim(pod=pod, demand=DEMAND, by=CLAIMED_BY))).name
                self._images = ()
            assert self._cell is not None
            return OneCell(self._cells, self._cell, patience=PATIENCE)

    def _alive(self) -> Cell | None:
        cell = self._cells.get(self._cell) if self._cell is not None else None
        return None if is_over(cell) else cell

    def _there(self) -> OneCell | None:
        """The cell, if it is connected."""
        cell = self._alive()
        return OneCell(self._cells, cell.name, patience=PATIENCE) if cell is not None and cell.connected else None
