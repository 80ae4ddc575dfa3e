"""A fleet's room on a real store, with a cloud in memory and cells that the test plays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cellwire.faults import Fault
from controller.clouds.userdata import parse
from controller.fleet import room
from controller.fleet.plan import FleetLimits
from controller.fleet.pool.warm_cells import Class
from controller.fleet.registry_facts import RegistryFacts
from controller.fleet.room import Fleet, FleetSettings
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.store import sqlite
from tests.support.fake_cloud import FakeCloud
from tests.support.fake_link import FakeLink

SMALL = Demand(cpu_millis=100, memory_mib=200)
LIMITS = FleetLimits(lease=2.0, heartbeat=0.1, boot=5.0, launch=5.0, unclaimed=5.0, grace=0.4, terminate_again=0.2)
WARM = Class(name="warm", count=2, demand=Demand(cpu_millis=400, memory_mib=400))
SETTINGS = FleetSettings(limits=LIMITS, survey=0.1, registries=(RegistryFacts(host="registry.demo"),))


def pod(name: str, attempt: int = 0, demand: Demand = SMALL, **annotations: str) -> PodClaim:
    return PodClaim(
        pod=PodRef(uid=PodUid(name), namespace="default", name=name, attempt=attempt),
        demand=demand,
        labels={"app": "web"},
        annotations={f"chinampa.dev/{key.replace('_', '-')}": value for key, value in annotations.items()},
    )


@dataclass
class FleetWorld:
    """A cloud that outlives controllers."""

    folder: Path
    cloud: FakeCloud = field(default_factory=FakeCloud)
    link: FakeLink = field(default_factory=FakeLink)
    refuse_joins: bool = False
    mute: set[CellName] = field(default_factory=set[CellName])

    @asynccontextmanager
    async def controller(self, settings: FleetSettings = SETTINGS) -> AsyncGenerator[Fleet]:
        self.link = FakeLink()
        async with (
            sqlite.running(self.folder / "store.db") as store,
            room.running(settings, store, self.cloud, self.link) as fleet,
            asyncio.TaskGroup() as tasks,
        ):
            agents = tasks.create_task(self._agents(fleet))
            try:
                yield fleet
            finally:
                agents.cancel()

    async def _agents(self, fleet: Fleet) -> None:
        """Every instance runs an agent that joins once and stays connected."""
        joined: dict[str, CellName] = {cell.instance or "": cell.name for cell in fleet.list()}
        while True:
            for one in self.cloud.alive():
                if one.id not in joined and not self.refuse_joins:
                    token = parse(next(r for r in self.cloud.requests if r.client_token == one.client_token).user_data)
                    with contextlib.suppress(Fault):
                        joined[one.id] = (await fleet.admit(token.token, one.id, self.cloud.identity(one.id))).cell
                if joined.get(one.id) in self.mute:
                    continue
                if (name := joined.get(one.id)) and name not in self.link.channels:
                    self.link.connect(name, agent=1.0)
                elif name:
                    self.link.heartbeat(name)
            await asyncio.sleep(0.02)


async def failing(work: Awaitable[object]) -> Fault:
    with pytest.raises(Fault) as raised:
        async with asyncio.timeout(20):
            await work
    return raised.value
