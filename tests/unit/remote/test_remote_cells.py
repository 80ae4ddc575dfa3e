"""The cells of a worker as its shim knows them: over restarts of either side, and while no controller answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from cellwire.faults import Fault, Kind
from cellwire.worker.v1 import worker_pb2 as wire
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.remote import remote_cells as module
from controller.remote.remote_cells import RemoteCells
from tests.support.memory_store import MemoryStore
from tests.support.waiting import until

ONE = CellName("c-1")
DEMAND = Demand(cpu_millis=100, memory_mib=64)


def claimed(name: str = ONE, state: CellState = CellState.CLAIMED) -> Cell:
    pod = PodRef(uid=PodUid(name), namespace="default", name=name)
    return Cell(name=CellName(name), state=state, demand=DEMAND, claim=PodClaim(pod=pod, demand=DEMAND, by="shim"))


class Central:
    """A controller that answers, or does not."""

    def __init__(self) -> None:
        self.answers = True
        self.released: list[tuple[str, str]] = []

    async def claim(self, claim: PodClaim) -> Cell:
        return claimed(str(claim.pod.uid))

    async def release(self, cell: CellName, reason: str) -> None:
        if not self.answers:
            raise Fault(Kind.UNAVAILABLE, "the controller", "it does not answer")
        self.released.append((cell, reason))


@asynccontextmanager
async def life(store: MemoryStore, central: Central) -> AsyncGenerator[RemoteCells]:
    """One life of the shim."""
    async with asyncio.TaskGroup() as tasks:
        cells = RemoteCells(store, tasks, cast("Any", central))
        await cells.load()
        releasing = tasks.create_task(cells.release_often())
        try:
            yield cells
        finally:
            releasing.cancel()


async def listed(cells: RemoteCells, *told: Cell) -> None:
    """A new connection tells its list."""
    cells.begin_list()
    for cell in told:
        await cells.heed(wire.WatchMessage(cell=msgspec.msgpack.encode(cell)))
    await cells.heed(wire.WatchMessage(listed=wire.Listed()))


async def test_a_shim_that_starts_while_no_controller_answers_knows_its_cells() -> None:
    store = MemoryStore()
    async with life(store, Central()) as cells:
        await listed(cells, claimed())
    async with life(store, Central()) as cells:
        known = cells.get(ONE)
        assert known is not None
        assert (known.state, known.connected) == (CellState.CLAIMED, False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await cells.connected(ONE)  # it may come back: nobody is told that it is lost


async def test_a_cell_that_the_controller_has_no_more_is_lost_and_forgotten() -> None:
    store = MemoryStore()
    async with life(store, Central()) as cells:
        await listed(cells, claimed(), claimed("c-2"))
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(lost(cells))
            await asyncio.sleep(0)
            await listed(cells, claimed("c-2"))
        assert waiting.result() == "CellLost"
        assert [cell.name for cell in cells.list()] == ["c-2"]
    async with life(store, Central()) as cells:
        assert [cell.name for cell in cells.list()] == ["c-2"]


async def lost(cells: RemoteCells) -> str:
    """Why one who waits for the cell waits no longer."""
    with pytest.raises(Fault) as told:
        await cells.connected(ONE)
    return told.value.reason


async def test_a_release_is_over_here_at_once_and_told_when_the_controller_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RELEASE_AGAIN", 0.01)
    store, central = MemoryStore(), Central()
    async with life(store, central) as cells:
        await listed(cells, claimed())
        central.answers = False
        await cells.release(ONE, "the pod is over")
        await listed(cells, claimed())  # what a controller says that has not heard of it
        assert cells.list()[0].state is CellState.RETIRING
    assert not central.released
    central.answers = True
    async with life(store, central) as cells:
        await until(lambda: central.released)
        assert central.released == [(ONE, "the pod is over")]
        await cells.heed(wire.WatchMessage(cell=msgspec.msgpack.encode(claimed(state=CellState.GONE))))
        assert not cells.list()
        await cells.release(ONE, "again")
    assert len(central.released) == 1
    assert not store.records, "nothing is kept of what is over"


async def test_who_watches_sees_each_cell_and_its_end() -> None:
    async with life(MemoryStore(), Central()) as cells:
        await listed(cells, claimed())
        watch = cells.watch()
        seen = [(await anext(watch)).state]
        await cells.heed(wire.WatchMessage(cell=msgspec.msgpack.encode(claimed(state=CellState.LOST))))
        seen.append((await anext(watch)).state)
        await listed(cells)
        seen.append((await anext(watch)).state)
        assert seen == [CellState.CLAIMED, CellState.LOST, CellState.GONE]


async def test_who_asks_is_told_where_a_cell_must_reach_this_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DIAL_PATIENCE", 0.01)
    async with life(MemoryStore(), Central()) as cells:
        cells.reached_at = ("10.0.0.7:7444",)
        wanted = claimed().claim
        assert wanted is not None
        with pytest.raises(Fault, match=r"c-1: it is claimed.*10\.0\.0\.7:7444") as told:
            await cells.claim(wanted)
        assert told.value.kind is Kind.UNAVAILABLE
        assert cells.get(ONE) is not None, "it is kept for who asks again"
