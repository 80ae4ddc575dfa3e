"""What the cloud tells of an instance: on its cell's record, once, with the moment at which the pod is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from msgspec.structs import replace

from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Notice
from controller.fleet.cell_store import CellStore
from controller.fleet.executor import Executor, LaunchFacts
from controller.fleet.notices import Notices
from controller.fleet.plan import End, FleetLimits, Seen, plan_cell
from controller.fleet.pool.keeper import Pool, PoolSettings
from controller.fleet.pool.warm_cells import Versions
from controller.fleet.reconciler import Reconciler
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
        assert notices.unwritten() == (NAME,)
        await notices.write_down(one.name)
        known = book.get(NAME)
        assert known is not None
        assert known.announced is not None
        assert known.announced.message == "taken"


class Refusing(MemoryStore):
    """Takes nothing for as long as it is told so."""

    refuses = False

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        if self.refuses:
            raise Fault(Kind.UNAVAILABLE, "store", "it has no room")
        return await super().put(kind, key, value, expected=expected)


@pytest.mark.parametrize("early", [True, False])
async def test_what_the_store_refuses_is_written_down_when_it_refuses_no_more(early: bool) -> None:
    store, told = Refusing(), list[Offer]()
    async with asyncio.TaskGroup() as tasks:
        book = CellStore(store, tasks, lambda: T)
        notices = Notices(book, Teller(TAKEN), LIMITS, lambda: T, told.append)
        if early:
            await notices.heed(lambda: None)
        await book.add(cell(CellState.CLAIMED))
        store.refuses = True
        if early:
            await notices.write_down(NAME)
        else:
            await notices.heed(lambda: None)
        assert book.get(NAME).announced is None  # type: ignore[union-attr]
        store.refuses = False
        assert notices.unwritten() == (NAME,)
        await notices.write_down(NAME)
        assert book.get(NAME).announced is not None  # type: ignore[union-attr]
        assert told == [OFFER]
        assert notices.unwritten() == ()


async def test_a_status_check_that_failed_while_the_clock_was_ahead_is_of_now_once_it_is_right() -> None:
    now = T + 3600
    failed = Notice(instance=INSTANCE, kind=NoticeKind.STATE_CHANGE, at=now, message="it fails", impaired=True)
    async with asyncio.TaskGroup() as tasks:
        book = CellStore(MemoryStore(), tasks, lambda: now)
        notices = Notices(book, Teller(failed), LIMITS, lambda: now, lambda _: None)
        await notices.heed(lambda: None)
        assert notices.impaired(INSTANCE) == ("it fails", now)
        notices.set_back(T)
        assert notices.impaired(INSTANCE) == ("it fails", T)


class Slow(MemoryStore):
    """Writes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        self.asked.set()
        await self.let.wait()
        return await super().put(kind, key, value, expected=expected)


async def test_what_two_would_write_down_at_once_is_written_down_once() -> None:
    store, told = Slow(), list[Offer]()
    store.let.set()
    async with asyncio.TaskGroup() as tasks:
        book = CellStore(store, tasks, lambda: T)
        await book.add(cell(CellState.CLAIMED))
        before = store.records["cells", NAME].revision
        store.asked.clear()
        store.let.clear()
        notices = Notices(book, Teller(TAKEN), LIMITS, lambda: T, told.append)
        async with asyncio.TaskGroup() as both:
            both.create_task(notices.heed(lambda: None))
            await store.asked.wait()
            assert notices.unwritten() == (NAME,)
            both.create_task(notices.write_down(NAME))
            for _ in range(10):
                await asyncio.sleep(0)
            store.let.set()
        assert store.records["cells", NAME].revision - before == 1
        assert told == [OFFER]


async def test_a_full_pass_has_it_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    store, cloud = Refusing(), Teller(TAKEN)
    async with asyncio.TaskGroup() as tasks:
        book = CellStore(store, tasks, lambda: T)
        home = LaunchFacts("test", lambda: ("10.0.0.1:1",), lambda: "sha256:" + "0" * 64, dict)
        act = Executor(book, cloud, home, b"secret", lambda: T, store.check_lead)
        pool = Pool(PoolSettings(), store, act.buyable, Versions, lambda: T)
        reconciler = Reconciler(book, cloud, act, LIMITS, pool, lambda: T, tasks)
        # Nothing else is to be done for the cell.
        monkeypatch.setattr(reconciler, "_next", lambda name: None)
        await book.add(cell(CellState.CLAIMED))
        store.refuses = True
        await reconciler.notices.heed(reconciler.resync_soon)
        await reconciler.full_pass(lambda request: None)
        store.refuses = False
        await reconciler.full_pass(lambda request: None)
        assert (await book.until(NAME, lambda: book.get(NAME).announced)).message == "taken"  # type: ignore[union-attr]
