"""What cells cost, hour by hour, and over a restart."""

from __future__ import annotations

import msgspec
import pytest

from controller.fleet import charges
from controller.fleet.cost_ledger import Ledger
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand, LaunchType, Offer
from controller.model.pod import PodClaim, PodRef
from tests.support.cells_double import OFFER
from tests.support.memory_store import MemoryStore

DEMAND = Demand(cpu_millis=100, memory_mib=100)
CLAIM = PodClaim(pod=PodRef(uid=PodUid("u-1"), namespace="ci", name="web"), demand=DEMAND, labels={"team": "red"})
AT = 3600.0 * 100
CELL = Cell(
    name=CellName("c-1"),
    state=CellState.CLAIMED,
    demand=DEMAND,
    claim=CLAIM,
    instance=InstanceId("i-1"),
    offer=OFFER,
    moments={"booting": AT},
)


class World:
    """Cells, prices and a clock that the test moves."""

    def __init__(self) -> None:
        self.store, self.cells, self.sold, self.at = MemoryStore(), [CELL], [OFFER], AT
        self.ledger = self.reborn()

    def reborn(self) -> Ledger:
        self.ledger = Ledger(self.store, self, self, lambda: self.at)  # type: ignore[arg-type]
        return self.ledger

    def list(self) -> tuple[Cell, ...]:
        return tuple(self.cells)

    async def offers(self) -> tuple[Offer, ...]:
        return tuple(self.sold)

    async def usd(self, since: float = AT) -> float:
        return sum(one.usd for one in await self.ledger.since(since))


async def test_a_cell_is_charged_by_the_second_and_for_a_minute_at_least() -> None:
    world = World()
    world.at = AT + 5
    assert await world.usd() == pytest.approx(0.0145 * 60 / 3600)
    world.at = AT + 7200
    assert await world.usd() == pytest.approx(0.0145 * 2)
    assert world.ledger.spent("u-1") == pytest.approx(0.0145 * 2)
    assert [one.seconds for one in await world.ledger.since(AT)] == [3600.0, 3600.0]


async def test_spot_is_charged_at_the_price_of_each_moment() -> None:
    world = World()
    world.at = AT + 1800
    await world.ledger.look()
    world.sold = [msgspec.structs.replace(OFFER, usd_per_hour=0.1)]
    world.at = AT + 3600
    assert await world.usd() == pytest.approx(0.0145 / 2 + 0.1 / 2)


async def test_what_is_not_spot_keeps_the_price_of_its_launch() -> None:
    world = World()
    bought = msgspec.structs.replace(OFFER, launch_type=LaunchType.ON_DEMAND)
    world.cells = [msgspec.structs.replace(CELL, offer=bought)]
    world.sold = [msgspec.structs.replace(bought, usd_per_hour=9.0)]
    world.at = AT + 3600
    assert await world.usd() == pytest.approx(0.0145)


async def test_a_restart_neither_forgets_nor_charges_twice() -> None:
    world = World()
    world.at = AT + 600
    await world.ledger.look()
    world.at = AT + 1200
    await world.reborn().load()
    assert world.ledger.spent("u-1") == pytest.approx(0.0145 / 6)
    assert await world.usd() == pytest.approx(0.0145 / 3)
    assert world.ledger.spent("u-1") == pytest.approx(0.0145 / 3)


async def test_a_warm_cell_is_nobodys_until_a_pod_takes_it() -> None:
    world = World()
    world.cells = [msgspec.structs.replace(CELL, claim=None)]
    world.at = AT + 1800
    await world.ledger.look()
    world.cells = [CELL]
    world.at = AT + 3600
    found = {one.namespace: one.usd for one in await world.ledger.since(AT)}
    assert found == {"": pytest.approx(0.0145 / 2), "ci": pytest.approx(0.0145 / 2)}


async def test_what_is_a_month_old_is_forgotten() -> None:
    world = World()
    world.at = AT + 60
    await world.ledger.look()
    world.cells, world.at = [], AT + 40 * 86400
    await world.reborn().load()
    assert await world.usd() == 0


def test_charges_are_grouped_by_what_is_asked_the_dearest_first() -> None:
    def charge(pod: str, team: str, usd: float) -> charges.Charge:
        return charges.Charge(hour=0, cell=pod, namespace="ci", pod=pod, labels={"team": team}, usd=usd, seconds=3600)

    found = [charge("a", "red", 1.0), charge("b", "blue", 3.0), charge("c", "red", 1.5)]
    told = [(one.group, one.usd, one.seconds) for one in charges.grouped(found, ["namespace", "label=team"])]
    assert told == [(("ci", "blue"), 3.0, 3600.0), (("ci", "red"), 2.5, 7200.0)]
