"""What the cloud tells of an instance: on its cell's record, once, with the moment at which the pod is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from msgspec.structs import replace

from controller.clouds.protocol import Notice
from controller.fleet.cell_store import CellStore
from controller.fleet.notices import Notices
from controller.fleet.plan import End, FleetLimits, Seen, plan_cell
from controller.model.cell import Cell, CellState, NoticeKind
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand, Offer
from controller.model.pod import PodClaim, PodRef
from tests.support.cells_double import OFFER
from tests.support.fake_cloud import FakeCloud
from tests.support.memory_store import MemoryStore

NAME, INSTANCE, T = CellName("c-1"), InstanceId("i-1"), 10_000.0
DEMAND = Demand(cpu_millis=100, memory_mib=100)
CLAIM = PodClaim(pod=PodRef(uid=PodUid("u"), namespace="default", name="web"), demand=DEMAND)
LIMITS = FleetLimits(maintenance_lead=600)
TAKEN = Notice(instance=INSTANCE, kind=NoticeKind.INTERRUPTION, at=T + 120, message="taken", ends=True)
MAINTAINED = Notice(instance=INSTANCE, kind=NoticeKind.MAINTENANCE, at=T + 86_400, message="reboot", ends=True)


class Teller(FakeCloud):
    """Has so much to tell, and no more."""

    def __init__(self, *news: Notice) -> None:
        super().__init__()
        self.news = news

    async def notices(self) -> AsyncGenerator[Notice]:
        for one in self.news:
            yield one


def cell(state: CellState) -> Cell:
    return Cell(
        name=NAME, state=state, demand=DEMAND, claim=CLAIM, instance=INSTANCE, offer=OFFER, created_at=T, changed_at=T,
        last_heartbeat=T,
    )  # fmt: skip


async def heard(state: CellState, *news: Notice) -> tuple[CellStore, list[Offer], int]:
    """A cell in this state hears that; with the offers that are taken back, and how often its record was written."""
    taken, store = list[Offer](), MemoryStore()
    async with asyncio.TaskGroup() as tasks:
        book = CellStore(store, tasks, lambda: T)
        await book.add(cell(state))
        before = store.records["cells", NAME].revision
        await Notices(book, Teller(*news), LIMITS, lambda: T, taken.append).heed(lambda: None)
        return book, taken, store.records["cells", NAME].revision - before


@pytest.mark.parametrize(("notice", "ending"), [(TAKEN, T), (MAINTAINED, 0.0)])
async def test_a_pod_is_told_with_the_first_word_of_an_end_that_is_due(notice: Notice, ending: float) -> None:
    book, taken, writes = await heard(CellState.CLAIMED, notice, notice)

    known = book.get(NAME)
    assert known is not None
    assert known.announced is not None
    assert known.announced.ending_since == ending
    assert writes == 1, "what is said again is no news"
    assert taken == ([OFFER] if notice is TAKEN else [])


async def test_a_cell_that_is_handed_over_meanwhile_is_told_by_its_plan() -> None:
    book, _, _ = await heard(CellState.READY, TAKEN)

    known = book.get(NAME)
    assert known is not None
    assert known.announced is not None
    assert not known.announced.ending_since
    after = replace(known, state=CellState.CLAIMED)
    assert plan_cell(after, Seen(asked_at=T, listed_at=T), LIMITS, T) == End(NAME)


async def test_what_is_told_before_the_launch_is_written_down_is_not_lost() -> None:
    async with asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: T)
        notices = Notices(book, Teller(TAKEN), LIMITS, lambda: T, lambda _: None)
        await notices.heed(lambda: None)
        one = await book.add(cell(CellState.BOOTING))
        await notices.launched(one)
        known = book.get(NAME)
        assert known is not None
        assert known.announced is not None
        assert known.announced.message == "taken"
