"""One life of a controller's fleet over a cloud of values, whose passes and clock a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from controller.fleet.cell_store import CellStore
from controller.fleet.executor import Executor, LaunchFacts
from controller.fleet.plan import FleetLimits
from controller.fleet.pool.keeper import Pool, PoolSettings
from controller.fleet.pool.warm_cells import Versions
from controller.fleet.reconciler import PASS_SECONDS, Reconciler
from controller.model.cell import CellState
from controller.model.names import CellName
from tests.support.fake_cloud import FakeCloud
from tests.support.memory_store import MemoryStore

NONE = PoolSettings()


class FleetLife:
    """One life of a controller, whose clock a test sets."""

    def __init__(self, store: MemoryStore, now: float, tasks: asyncio.TaskGroup, warm: PoolSettings) -> None:
        self.now = now

        def clock() -> float:
            return self.now

        self.book = CellStore(store, tasks, clock)
        self.cloud = cloud = FakeCloud(clock)
        home = LaunchFacts("test", lambda: ("10.0.0.1:1",), lambda: "sha256:" + "0" * 64, dict)
        act = Executor(self.book, cloud, home, b"secret", clock, store.check_lead)
        pool = Pool(warm, store, act.buyable, Versions, clock)
        self.reconciler = Reconciler(self.book, cloud, act, FleetLimits(), pool, clock, tasks)

    async def passes(self, seconds: float) -> None:
        """Look at all cells, a pass after the other, for so long."""
        until = self.now + seconds
        while self.now < until:
            await self.reconciler.full_pass(lambda request: None)
            for _ in range(10):
                await asyncio.sleep(0)
            self.now += PASS_SECONDS


def state(one: FleetLife, name: CellName) -> CellState | None:
    """The state of a cell; None where there is none."""
    known = one.book.get(name)
    return known.state if known is not None else None


@asynccontextmanager
async def life(store: MemoryStore, now: float, warm: PoolSettings = NONE) -> AsyncGenerator[FleetLife]:
    """A life over what a store holds, at this unix second, with these warm cells."""
    async with asyncio.TaskGroup() as tasks:
        one = FleetLife(store, now, tasks, warm)
        await one.book.load()
        yield one
        await one.reconciler.drain()
