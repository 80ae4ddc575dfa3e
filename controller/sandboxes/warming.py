"""Images on warm cells: pulled while the cells wait, so that a pod which takes one finds its layers there.

It still has to be allowed to have them: its own pull asks the registry with its own credentials, and finds nothing left
to fetch. What a killed controller had pulled is found again by pulling again, which costs a question.

Beside the images that the settings name come those that the class's latest pods had, without those pods' credentials.

A cell that a kubelet's pod takes begins with the pod's images as soon as it is connected: the kubelet asks only when
the sandbox stands, for one after another. (The pods API does so itself, with the pod's credentials.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.fleet.cells import Telling
from controller.fleet.pool.configured import ClassImages
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.sandboxes.cell_calls import PATIENCE
from controller.sandboxes.cell_client import OneCell
from controller.sandboxes.pulling import RegistryAccess, pull

log = structlog.get_logger()
PULL_SECONDS = 1800.0
AGAIN_SECONDS = 30.0
# What nobody named and cannot be had (it may want a pod's own credentials) is not asked for all the time.
LIKELY_AGAIN_SECONDS = 600.0
JUST_CLAIMED_SECONDS = 20.0


class ImageCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a class of warm cells: on how many of those that wait it is, and why it is missing on another."""

    of: str
    image: str
    there: int = 0
    coming: int = 0
    fault: str = ""


class Warming:
    """See the module. Made by `running`. `wanted` are the images of each class of warm cells, by its name."""

    def __init__(
        self, cells: Telling, wanted: Mapping[str, ClassImages], access: RegistryAccess, early: Collection[str] = ()
    ) -> None:
        self._cells = cells
        self._wanted = {of: images for of, images in wanted.items() if images.named or images.forecast}
        self._access = access
        self._early = frozenset(early)
        self._begun: set[CellName] = set()
        self._filled: dict[CellName, dict[str, str]] = {}
        """Of each cell the images that were pulled or tried: "" where one is there, else why it is not."""

    def held(self) -> tuple[ImageCoverage, ...]:
        """Each image that is wanted, in the order of the settings."""
        waiting = [cell for cell in self._cells.list() if _waits(cell)]
        return tuple(self._of(of, image, waiting) for of in self._wanted for image in self._images(of))

    async def work(self) -> None:
        """Fill each warm cell as it comes, for ever."""
        async with asyncio.TaskGroup() as tasks:
            async for cell in self._cells.watch():
                of = cell.standby.of if cell.standby is not None else ""
                if _waits(cell) and cell.name not in self._filled and of in self._wanted:
                    self._filled[cell.name] = {}
                    tasks.create_task(self._fill(cell.name, of), name=f"images of {cell.name}")
                elif self._is_early(cell) and cell.claim is not None:
                    self._begun.add(cell.name)
                    tasks.create_task(self._begin(cell.name, cell.claim.images), name=f"early images of {cell.name}")
                elif cell.state in {CellState.RETIRING, CellState.LOST, CellState.GONE}:
                    self._filled.pop(cell.name, None)
                    self._begun.discard(cell.name)

    def _is_early(self, cell: Cell) -> bool:
        """Whether a pod that has just got this cell waits for its images, which somebody has told."""
        if cell.claim is None or cell.claim.by.partition("@")[0] not in self._early or not cell.claim.images:
            return False
        if cell.name in self._begun or not cell.connected or cell.state not in {CellState.READY, CellState.CLAIMED}:
            return False
        # After a restart of the controller its cells come back, whose pods have their images.
        return time.time() - cell.moments.get(CellState.CLAIMED.value, time.time()) < JUST_CLAIMED_SECONDS

    async def _begin(self, name: CellName, images: Sequence[str]) -> None:
        """One after another, as the pod will want them. What fails is told when the kubelet asks."""
        for image in images:
            try:
                await self._pull(name, image)
            except Fault as fault:
                log.info("an image did not come early", cell=name, image=image, cause=str(fault))

    def _of(self, of: str, image: str, waiting: Sequence[Cell]) -> ImageCoverage:
        said = [
            self._filled.get(cell.name, {}).get(image, "coming")
            for cell in waiting
            if cell.standby is not None and cell.standby.of == of
        ]
        faults = [words for words in said if words not in {"", "coming"}]
        return ImageCoverage(
            of=of,
            image=image,
            there=said.count(""),
            coming=len(said) - said.count(""),
            fault=faults[0] if faults else "",
        )

    def _images(self, of: str) -> tuple[str, ...]:
        wanted = self._wanted[of]
        likely = self._cells.likely_images(of) if wanted.forecast else ()
        return tuple(dict.fromkeys((*wanted.named, *likely)))

    async def _fill(self, name: CellName, of: str) -> None:
        """Have all that is wanted on the cell, also what will be wanted later, for as long as it waits."""
        tried: dict[str, float] = {}
        while True:
            for image in self._images(of):
                cell = self._cells.get(name)
                if cell is None or not _waits(cell):
                    return  # a pod has it: the line to the registry is the pod's now
                every = 0.0 if image in self._wanted[of].named else LIKELY_AGAIN_SECONDS
                done = self._filled.get(name, {}).get(image) == ""
                if done or time.monotonic() - tried.get(image, float("-inf")) < every:
                    continue
                tried[image] = time.monotonic()
                try:
                    await self._pull(name, image)
                except Fault as fault:
                    log.info("an image is not on a warm cell yet", cell=name, image=image, cause=str(fault))
                    self._note(name, image, str(fault))
                else:
                    self._note(name, image, "")
            await asyncio.sleep(AGAIN_SECONDS)
            if (cell := self._cells.get(name)) is None or not _waits(cell):
                return

    async def _pull(self, name: CellName, image: str) -> None:
        request = cri.PullImageRequest(image=cri.ImageSpec(image=image))
        await pull(OneCell(self._cells, name, patience=PATIENCE), request, self._access, deadline=PULL_SECONDS)

    def _note(self, name: CellName, image: str, fault: str) -> None:
        if name in self._filled:
            self._filled[name][image] = fault


def _waits(cell: Cell) -> bool:
    return cell.state is CellState.READY and cell.claim is None and cell.connected


@asynccontextmanager
async def running(
    cells: Telling, wanted: Mapping[str, ClassImages], access: RegistryAccess, early: Collection[str] = ()
) -> AsyncGenerator[Warming]:
    """Warm cells are filled for as long as this lives; `early` are the rooms whose pods' images are begun at once."""
    warming = Warming(cells, wanted, access, early)
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(warming.work())
        try:
            yield warming
        finally:
            work.cancel()
