from __future__ import annotations

import msgspec
import pytest

from controller.model import cost
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand, LaunchType, Offer, Shape

OFFER = Offer(
    shape=Shape(type="c7g.medium", architecture="arm64", cpu_millis=1000, memory_mib=2048, baseline_millis=1000),
    zone="eu-central-1a",
    launch_type=LaunchType.SPOT,
    usd_per_hour=0.0145,
)
COMING = Cell(
    name=CellName("c-1"),
    state=CellState.LAUNCHING,
    demand=Demand(cpu_millis=100, memory_mib=100),
    created_at=100.0,
    moments={"requested": 100.0, "launching": 101.0},
)
RUNNING = msgspec.structs.replace(
    COMING,
    state=CellState.BOOTING,
    instance=InstanceId("i-1"),
    offer=OFFER,
    moments={**COMING.moments, "booting": 103.0},
)


@pytest.mark.parametrize(("now", "billed"), [(103.0, 60.0), (150.0, 60.0), (163.0, 60.0), (3703.0, 3600.0)])
def test_a_cell_costs_from_its_launch_on_and_at_least_a_minute(now: float, billed: float) -> None:
    assert cost.usd_so_far(RUNNING, now) == pytest.approx(0.0145 * billed / 3600)


def test_a_cell_without_an_instance_costs_nothing() -> None:
    assert cost.usd_per_hour(COMING) == cost.usd_so_far(COMING, 1e9) == 0.0


def test_an_instance_whose_price_nobody_knows_is_not_made_up() -> None:
    assert cost.usd_so_far(msgspec.structs.replace(RUNNING, offer=None), 1e9) == 0.0


def test_what_was_bought_is_said_with_its_price() -> None:
    assert cost.bought(RUNNING) == "c7g.medium spot in eu-central-1a for 0.0145 USD/h"
    assert cost.bought(COMING) == ""


def test_small_amounts_are_not_rounded_away() -> None:
    assert [cost.dollars(usd) for usd in (0.0, 0.000242, 1.5)] == ["0.0000", "0.000242", "1.5000"]
