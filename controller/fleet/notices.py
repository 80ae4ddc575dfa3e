"""Notices of the cloud, written down on the cells of their instances. What they mean is in `announcements`."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog
from msgspec.structs import replace

from cellwire.faults import Fault
from controller.clouds.protocol import Cloud
from controller.fleet import announcements
from controller.fleet.cell_store import CellStore
from controller.fleet.plan import FleetLimits
from controller.model.cell import Announcement, Cell, CellState, NoticeKind
from controller.model.names import CellName, InstanceId
from controller.model.offer import Offer
from controller.model.transitions import Announced, InvalidStep
from hostkit.tasks import KeyedLocks

log = structlog.get_logger()
# Announcements kept that are on no cell's record (yet); a queue may tell of other people's instances.
MOST_UNWRITTEN = 1000


class Notices:
    """Hears the notices of a cloud. `taken` is told of offers whose instances it takes back."""

    def __init__(
        self,
        book: CellStore,
        cloud: Cloud,
        limits: FleetLimits,
        clock: Callable[[], float],
        taken: Callable[[Offer], None],
    ) -> None:
        self._book = book
        self._cloud = cloud
        self._limits = limits
        self._clock = clock
        self._taken = taken
        self._unwritten: dict[InstanceId, Announcement] = {}
        self._impaired: dict[InstanceId, tuple[str, float]] = {}
        # Who hears of it writes it down, and whoever works on its cell.
        self._turns = KeyedLocks[CellName]()

    async def heed(self, list_soon: Callable[[], None]) -> None:
        """For ever: a notice is a reason to list instances, and its cell remembers it before the next is asked for."""
        async for notice in self._cloud.notices():
            cell = self._book.of_instance(notice.instance)
            if cell is not None:
                log.info("notice", instance=notice.instance, kind=notice.kind.value, message=notice.message)
                # Not for other people's instances: a queue tells of the whole account, and each look is calls.
                list_soon()
            if notice.impaired:
                self._impaired[notice.instance] = (notice.message, self._clock())
            news = announcements.announcement(notice, self._limits, self._clock())
            if news is None:
                continue
            # The answer to its launch may not be written down yet, or the store may refuse this now.
            kept = self._unwritten.pop(notice.instance, None)
            self._unwritten[notice.instance] = news if announcements.weightier(kept, news) else kept or news
            for oldest in list(self._unwritten)[:-MOST_UNWRITTEN]:
                del self._unwritten[oldest]
            if cell is not None:
                await self.write_down(cell.name)

    def unwritten(self) -> tuple[CellName, ...]:
        """Cells that do not remember yet what was announced of their instances."""
        cells = (self._book.of_instance(instance) for instance in self._unwritten)
        return tuple(cell.name for cell in cells if cell is not None)

    async def write_down(self, name: CellName) -> None:
        """Have a cell remember what was announced of its instance, once. What the store refuses is kept."""
        async with self._turns[name]:
            await self._write_down(name)

    async def _write_down(self, name: CellName) -> None:
        cell = self._book.get(name)
        news = self._unwritten.get(cell.instance) if cell is not None and cell.instance is not None else None
        if cell is None or cell.instance is None or news is None:
            return
        try:
            await self._remember(cell, news)
        except Fault as fault:
            log.warning("an announcement was not written down; it is tried again", cell=name, cause=str(fault))
            return
        except InvalidStep as error:
            log.warning("an announcement was not written down", cell=name, cause=str(error))
        if self._unwritten.get(cell.instance) is news:
            del self._unwritten[cell.instance]

    def impaired(self, instance: InstanceId | None) -> tuple[str, float]:
        """What a status check last said of an instance, and when; "" and 0 where none did."""
        return self._impaired.get(instance, ("", 0.0)) if instance is not None else ("", 0.0)

    def set_back(self, now: float) -> None:
        """The clock was set back: no status check is from times to come."""
        self._impaired = {name: (said, min(at, now)) for name, (said, at) in self._impaired.items()}

    def listed(self, instances: Collection[InstanceId]) -> None:
        """Forget the status checks of all instances but these."""
        self._impaired = {name: said for name, said in self._impaired.items() if name in instances}

    async def _remember(self, cell: Cell, news: Announcement) -> None:
        if not announcements.weightier(cell.announced, news):
            return
        ends = cell.state is CellState.CLAIMED and announcements.due(news, self._limits, self._clock())
        await self._book.change(cell.name, Announced(replace(news, ending_since=self._clock()) if ends else news))
        if ends:
            log.warning("the instance will be taken; its pod is told to end", cell=cell.name, reason=news.message)
        if news.kind is NoticeKind.INTERRUPTION and cell.offer is not None:
            self._taken(cell.offer)
