"""What `chinampa status` is told."""

from __future__ import annotations

import msgspec
import pytest

from controller.api.admin import described, summary
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand
from tests.support.cells_double import OFFER

WARM = Cell(
    name=CellName("c-1"),
    state=CellState.READY,
    demand=Demand(cpu_millis=100, memory_mib=100),
    instance=InstanceId("i-1"),
    offer=OFFER,
    moments={"booting": 1000.0},
)
COMING = msgspec.structs.replace(WARM, name=CellName("c-2"), state=CellState.LAUNCHING, instance=None, offer=None)


def test_a_summary_adds_up_what_runs() -> None:
    told = summary([WARM, COMING, WARM], (), 1000.0 + 7200)
    assert told["cells"] == {"ready": 2, "launching": 1}
    assert told["usd_per_hour"] == pytest.approx(0.029)
    assert told["usd_so_far"] == pytest.approx(0.058)


def test_a_cell_tells_what_it_costs_and_has_cost() -> None:
    assert described(WARM, 1000.0 + 3600).items() >= {"usd_per_hour": 0.0145, "usd_so_far": 0.0145}.items()
    assert described(COMING, 5000.0).items() >= {"usd_per_hour": 0.0, "usd_so_far": 0.0}.items()
