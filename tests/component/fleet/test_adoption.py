"""After the loss of all records cells that run a pod are taken back, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from grpclib.client import Channel

from cellwire.faults import Fault, Kind
from controller.fleet import adoption, reconciler, room
from controller.fleet.plan import FleetLimits
from controller.fleet.room import Fleet, FleetSettings
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance
from controller.model.names import CellName, InstanceId
from controller.model.pod import PodClaim
from controller.store import sqlite
from tests.support.fake_cloud import FakeCloud
from tests.support.fake_link import FakeLink
from tests.support.fleet_world import FleetWorld, pod
from tests.support.waiting import until

LIMITS = FleetLimits(lease=0.6, redial=0.4, boot=5.0, launch=5.0, unclaimed=5.0, grace=0.1, terminate_again=0.2)
SETTINGS = FleetSettings(limits=LIMITS, survey=0.1)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "PASS_SECONDS", 0.05)
    monkeypatch.setattr(reconciler, "RESYNC_SOON", 0.01)
    monkeypatch.setattr(adoption, "AGAIN_SECONDS", 0.05)


@dataclass
class Pods:
    """A room that recognises its pods by the channel of their cell. `silent` cells fail so often, `mute` ones never
    answer.
    """

    link: FakeLink
    runs: dict[CellName, PodClaim] = field(default_factory=dict[CellName, PodClaim])
    silent: dict[CellName, int] = field(default_factory=dict[CellName, int])
    taken: list[CellName] = field(default_factory=list[CellName])
    mute: frozenset[CellName] = frozenset()
    asked: set[CellName] = field(default_factory=set[CellName])

    async def recognise(self, cell: CellName, channel: Channel) -> PodClaim | None:
        (name,) = (name for name, its in self.link.channels.items() if its is channel)
        assert name == cell
        self.asked.add(name)
        if name in self.mute:
            await asyncio.Event().wait()
        while not self.mute <= self.asked:
            await asyncio.sleep(0.01)
        if self.silent.get(name):
            self.silent[name] -= 1
            raise Fault(Kind.UNAVAILABLE, f"cell {name}", "it hung up")
        return self.runs.get(name)

    async def take(self, cell: Cell, channel: Channel) -> None:
        self.taken.append(cell.name)


@asynccontextmanager
async def after_the_loss(
    folder: Path,
    cloud: FakeCloud,
    cells: dict[CellName, InstanceId],
    runs: dict[CellName, PodClaim],
    settings: FleetSettings = SETTINGS,
    silent: dict[CellName, int] | None = None,
    mute: frozenset[CellName] = frozenset(),
) -> AsyncGenerator[tuple[Fleet, Pods]]:
    """A fleet with an empty store, to which these cells dial until they are kept; their certificates name instances."""
    link = FakeLink()
    pods = Pods(link, runs, silent or {}, mute=mute)

    async def dial() -> None:
        while True:
            for name, instance in cells.items():
                if name not in link.channels:
                    link.connect(name, instance, agent=1.0)
                else:
                    link.heartbeat(name)
            await asyncio.sleep(0.02)

    async with sqlite.running(folder / "new.db") as store, asyncio.TaskGroup() as tasks:
        dialling = tasks.create_task(dial())
        try:
            async with room.running(settings, store, cloud, link, owners=(pods,)) as fleet:
                yield fleet, pods
        finally:
            dialling.cancel()


async def launched(folder: Path, *claims: PodClaim) -> tuple[FakeCloud, list[Cell]]:
    """A cloud in which these pods had their cells when the records were lost."""
    world = FleetWorld(folder)
    async with world.controller() as fleet:
        return world.cloud, [await fleet.claim(claim) for claim in claims]


def instance_of(cell: Cell) -> InstanceId:
    assert cell.instance is not None
    return cell.instance


async def test_a_cell_whose_pod_runs_is_the_same_cell_as_before(tmp_path: Path) -> None:
    cloud, (cell,) = await launched(tmp_path, pod("web"))
    async with after_the_loss(tmp_path, cloud, {cell.name: instance_of(cell)}, {cell.name: pod("web")}) as (
        fleet,
        pods,
    ):
        (known,) = fleet.list()
        assert (known.name, known.instance, known.state) == (cell.name, cell.instance, CellState.CLAIMED)
        assert (known.offer, known.address, known.pod_address) == (cell.offer, cell.address, cell.pod_address)
        assert pods.taken == [cell.name]
        again = await fleet.claim(pod("web"))
        assert again.name == cell.name
        await until(lambda: (found := fleet.get(cell.name)) is not None and found.connected)
        await asyncio.sleep(LIMITS.lease + 0.3)
        assert [one.id for one in cloud.alive()] == [cell.instance], "it is no orphan, and not silent"

        await fleet.release(cell.name, "deleted")
        await until(lambda: not fleet.list() and not cloud.alive())


async def test_cells_that_run_nothing_or_never_dial_end_with_their_instances(tmp_path: Path) -> None:
    cloud, cells = await launched(tmp_path, pod("web"), pod("idle"), pod("dead"))
    web, idle, _dead = cells
    dialling = {cell.name: instance_of(cell) for cell in (web, idle)}
    async with after_the_loss(tmp_path, cloud, dialling, {web.name: pod("web")}) as (fleet, _):
        assert [cell.name for cell in fleet.list()] == [web.name]
        await until(lambda: [one.id for one in cloud.alive()] == [web.instance])


async def test_a_certificate_of_another_instance_and_a_tag_of_another_cell_prove_nothing(tmp_path: Path) -> None:
    cloud, cells = await launched(tmp_path, pod("a"), pod("b"))
    first, second = cells
    swapped = {first.name: instance_of(second), CellName("c-strange"): InstanceId("i-99999999")}
    runs = {first.name: pod("a"), CellName("c-strange"): pod("a")}
    async with after_the_loss(tmp_path, cloud, swapped, runs) as (fleet, pods):
        assert (fleet.list(), pods.taken) == ((), [])


async def test_an_instance_whose_own_tags_were_not_written_yet_is_known_by_its_certificate(tmp_path: Path) -> None:
    cloud, (cell,) = await launched(tmp_path, pod("web"))
    bare = {key: text for key, text in cloud.known[instance_of(cell)].tags.items() if key == "chinampa.dev/cluster"}
    cloud.known[instance_of(cell)] = _with_tags(cloud.known[instance_of(cell)], bare)
    runs = {cell.name: pod("web")}
    async with after_the_loss(tmp_path, cloud, {cell.name: instance_of(cell)}, runs) as (fleet, _):
        assert [one.name for one in fleet.list()] == [cell.name]


def _with_tags(instance: Instance, tags: dict[str, str]) -> Instance:
    import msgspec

    return msgspec.structs.replace(instance, tags=tags)


async def test_of_two_attempts_at_one_pod_the_later_keeps_its_cell(tmp_path: Path) -> None:
    cloud, cells = await launched(tmp_path, pod("web"), pod("web", 1))
    first, second = cells
    dialling = {cell.name: instance_of(cell) for cell in cells}
    async with after_the_loss(tmp_path, cloud, dialling, {first.name: pod("web"), second.name: pod("web", 1)}) as (
        fleet,
        _,
    ):
        await until(lambda: [one.id for one in cloud.alive()] == [second.instance])
        assert [cell.name for cell in fleet.list() if cell.state is CellState.CLAIMED] == [second.name]


async def test_a_cell_that_hangs_up_is_asked_again_when_it_dials_again(tmp_path: Path) -> None:
    cloud, (cell,) = await launched(tmp_path, pod("web"))
    runs = {cell.name: pod("web")}
    async with after_the_loss(tmp_path, cloud, {cell.name: instance_of(cell)}, runs, silent={cell.name: 2}) as (
        fleet,
        _,
    ):
        assert [one.name for one in fleet.list()] == [cell.name]


async def test_cells_that_never_answer_keep_no_other_from_being_taken_back(tmp_path: Path) -> None:
    cloud, cells = await launched(tmp_path, pod("evil"), pod("worse"), pod("web"))
    evil, worse, web = cells
    dialling = {cell.name: instance_of(cell) for cell in cells}
    settings = msgspec.structs.replace(SETTINGS, limits=msgspec.structs.replace(LIMITS, redial=2.4))
    mute = frozenset({evil.name, worse.name})
    async with after_the_loss(tmp_path, cloud, dialling, {web.name: pod("web")}, settings, mute=mute) as (fleet, _):
        assert [one.name for one in fleet.list()] == [web.name]
        await until(lambda: [one.id for one in cloud.alive()] == [web.instance])


async def test_it_is_done_once_and_a_new_cluster_does_not_wait(tmp_path: Path) -> None:
    cloud = FakeCloud()
    for_ever = msgspec.structs.replace(SETTINGS, limits=msgspec.structs.replace(LIMITS, redial=1e9))
    async with after_the_loss(tmp_path, cloud, {}, {}, settings=for_ever):
        pass
    (stray,) = (await launched(tmp_path, pod("web")))[1]
    runs = {stray.name: pod("web")}
    async with after_the_loss(tmp_path, cloud, {stray.name: instance_of(stray)}, runs) as (fleet, pods):
        await asyncio.sleep(0.2)
        assert (fleet.list(), pods.taken) == ((), [])
