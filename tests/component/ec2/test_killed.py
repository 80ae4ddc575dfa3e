"""A controller killed at any await of its launch path: its next life gives each pod one instance, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.clouds.ec2 import ec2_cloud as ec2
from controller.fleet import reconciler, room
from controller.fleet.plan import FleetLimits
from controller.fleet.room import FleetSettings
from controller.model.cell import Cell, CellState
from controller.model.names import PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.store.record_store import decode
from tests.support.ec2_cloud import CloudStage, stage
from tests.support.ec2_launches import backend
from tests.support.fake_link import FakeLink
from tests.support.lives import Life, Place
from tests.support.memory_store import MemoryStore

PODS = ("a", "b")
# Turns of the loop after which a call is sent; to be answered takes it far more.
SENT = 10
LIMITS = FleetLimits(lease=600.0, boot=600.0, launch=60.0, grace=0.0, terminate_again=0.5)
SETTINGS = FleetSettings(cluster="test", limits=LIMITS, survey=0.2)
# In which what a controller finds after it was killed must be in order: it takes a few.
MOST_SURVEYS = 150
# Where a launch begins: who asks for a cell, its worker, the calls made for many, the writing of records.
BEGINNINGS = ("claim", "_work", "_hold", "_settle")


class WaitingStore(MemoryStore):
    """Takes its time before each write and after it."""

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        await asyncio.sleep(0)
        revision = await super().put(kind, key, value, expected=expected)
        await asyncio.sleep(0)
        return revision


def launches(place: Place) -> bool:
    return place[0].rpartition(" ")[2] in BEGINNINGS


def claim(name: str) -> PodClaim:
    pod = PodRef(uid=PodUid(name), namespace="default", name=name)
    return PodClaim(pod=pod, demand=Demand(cpu_millis=100, memory_mib=128), labels={"app": name})


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "PASS_SECONDS", 0.1)


def instances() -> dict[str, str]:
    """State of each instance that EC2 ever had, whoever asked for it."""
    return {one.id: one.state for each in tuple(backend().reservations.values()) for one in each.instances}


def stored(store: MemoryStore) -> list[Cell]:
    """The cells whose instance is written down."""
    cells = (decode(one.value, Cell) for (kind, _), one in store.records.items() if kind == "cells")
    return [cell for cell in cells if cell.instance is not None]


async def settled(on: CloudStage) -> None:
    """What was asked of EC2 is carried out, though nobody waits for it."""
    for _ in range(50):
        await asyncio.sleep(0)
    while any(call.outcome == "under way" for call in on.front.calls):
        await asyncio.sleep(0.01)


async def one_life(on: CloudStage, store: MemoryStore) -> None:
    """Asks for a cell for each pod, until each has an instance; there never was another."""
    link = FakeLink()
    async with ec2.running(on.settings) as cloud, room.running(SETTINGS, store, cloud, link) as fleet:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(fleet.claim(claim(name))) for name in PODS]
            surveys = on.front.count("DescribeInstances")
            while [cell.state for cell in fleet.list()] != [CellState.BOOTING] * len(PODS):
                await asyncio.sleep(0.01)
                assert on.front.count("DescribeInstances") < surveys + MOST_SURVEYS, "a pod has no instance"
            for one in asked:
                one.cancel()
            assert instances() == dict.fromkeys((cell.instance for cell in fleet.list()), "running")


@pytest.mark.timeout(1500)
async def test_a_controller_killed_at_any_await_of_a_launch_leaves_one_instance_for_each_pod(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        whole = Life(launches)
        await whole.live(one_life(on, WaitingStore()))
        assert len(whole.seen) >= 15, "an await of a launch is not seen"
        left: list[tuple[int, int]] = []
        for place, times in whole.seen.items():
            for time, turns in ends(place, times):
                backend().reservations.clear()
                store = WaitingStore()
                await Life(launches, place, time, turns).live(one_life(on, store))
                await settled(on)
                left.append((len(instances()), len(stored(store))))
                try:
                    await one_life(on, store)
                except ExceptionGroup as error:
                    raise AssertionError(f"killed at {place}, {turns}: {instances()}") from error
        assert {(0, 0), (2, 0), (2, 2)} <= set(left), "killed before and after the launch, and with it written down"


def ends(place: Place, times: int) -> Iterator[tuple[int, int]]:
    """When to end at an await: the how-manieth time, and after how many turns of the loop."""
    functions = {step.rpartition(" ")[2] for step in place}
    yield 1, 0
    if "put" in functions and times > 1:
        yield times, 0  # another step of the launch
    if functions & {"_ask", "_described"}:
        yield 1, SENT
