"""Who may lead no more, having been stopped for a while, tells the cloud nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from controller.fleet import plan
from controller.fleet.cell_store import CellStore
from controller.fleet.executor import Executor, LaunchFacts
from controller.fleet.plan import FleetLimits
from controller.fleet.pool.keeper import Pool, PoolSettings
from controller.fleet.pool.warm_cells import Versions
from controller.fleet.reconciler import Reconciler
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand
from controller.store import lead as lead_module
from controller.store import sqlite
from controller.store.etcd_gateway import EtcdSettings
from controller.store.lead import Lead
from tests.support.fake_cloud import FakeCloud

NAME, STRANGER = CellName("c-1"), InstanceId("i-9")


def deposed() -> None:
    raise Fault(Kind.UNAVAILABLE, "lead", "another has it", reason="LeadLost")


async def test_nothing_is_launched_or_ended_by_one_that_may_lead_no_more(tmp_path: Path) -> None:
    cloud, told = FakeCloud(), list[str]()
    cloud.before = told.append
    async with sqlite.running(tmp_path / "store.db") as store, asyncio.TaskGroup() as tasks:
        book = CellStore(store, tasks, lambda: 1000.0)
        await book.load()
        demand = Demand(cpu_millis=100, memory_mib=128)
        await book.add(Cell(name=NAME, state=CellState.REQUESTED, demand=demand))
        home = LaunchFacts("test", lambda: ("10.0.0.1:1",), lambda: "sha256:" + "0" * 64, dict)
        act = Executor(book, cloud, home, b"secret", lambda: 1000.0, deposed)
        pool = Pool(PoolSettings(), store, act.buyable, Versions, lambda: 1000.0)
        reconciler = Reconciler(book, cloud, act, FleetLimits(), pool, lambda: 1000.0, tasks)
        for action in (plan.Launch(NAME), plan.Terminate(NAME, STRANGER)):
            with pytest.raises(Fault, match="another has it"):
                await reconciler.carry_out(NAME, action)
        with pytest.raises(Fault, match="another has it"):
            await reconciler.terminate([STRANGER])
        assert told == []
        await Executor(book, cloud, home, b"secret", lambda: 1000.0, lambda: None).do(plan.Launch(NAME))
        assert told == ["launch"]


def test_a_lease_counts_from_before_it_was_asked_for_and_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(lead_module, "_now", lambda: now)

    class Gateway:
        async def ask(self, path: str, body: object, patience: float = 0.0) -> tuple[dict[str, object], bool]:
            nonlocal now
            now += 1.0  # the answer takes a second
            answers: dict[str, dict[str, object]] = {
                "kv/range": {},
                "lease/grant": {"ID": "7"},
                "kv/txn": {"succeeded": True, "header": {"revision": "3"}},
            }
            return answers[path], False

    lead = Lead(Gateway(), EtcdSettings(endpoints=(), prefix="/x", lease=10.0), lambda: False)  # type: ignore[arg-type]
    asyncio.run(lead.take())
    granted = 101.0
    now = granted + 9.9
    lead.check()
    now = granted + 10.0
    with pytest.raises(Fault, match="may have run out"):
        lead.check()
