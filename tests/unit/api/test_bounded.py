"""Labels stay few, and sums right, whatever users name."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api import prometheus
from controller.api.prometheus import MOST_CODES, MOST_NAMESPACES, MOST_ROWS, OTHERS, Codes, spend
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand, LaunchType
from controller.model.pod import PodClaim, PodRef
from tests.support.cells_double import OFFER

DEMAND = Demand(cpu_millis=1, memory_mib=1)


def cell(namespace: str, type_name: str, usd: float) -> Cell:
    shape = msgspec.structs.replace(OFFER.shape, type=type_name)
    pod = PodRef(uid=PodUid("u"), namespace=namespace, name="p")
    return Cell(
        name=CellName("c"),
        state=CellState.CLAIMED,
        demand=DEMAND,
        claim=PodClaim(pod=pod, demand=DEMAND),
        instance=InstanceId("i"),
        offer=msgspec.structs.replace(OFFER, shape=shape, usd_per_hour=usd, launch_type=LaunchType.ON_DEMAND),
    )


ROWS = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 90), st.floats(0.001, 50)).map(
        lambda row: cell(f"ns-{row[0]}", f"t{row[1]}.large", row[2])
    ),
    max_size=300,
)


@given(ROWS)
def test_rows_are_few_and_nothing_is_left_out(cells: list[Cell]) -> None:
    rows = spend(cells)
    assert sum(rows.values()) == pytest.approx(sum(one.offer.usd_per_hour for one in cells if one.offer))
    assert len({row.namespace for row in rows} - {OTHERS}) <= MOST_NAMESPACES
    assert len({row.instance_type for row in rows} - {OTHERS}) <= prometheus.MOST_TYPES
    assert len(rows) <= MOST_ROWS + 2 * (MOST_NAMESPACES + 1)


def test_what_costs_most_keeps_its_name() -> None:
    many = [cell(f"ns-{number}", "t.large", 0.01) for number in range(100)]
    rows = spend([*many, cell("dear", "p.huge", 30.0)])
    assert ("dear", "p.huge") in {(row.namespace, row.instance_type) for row in rows}


def test_codes_beyond_the_first_many_are_counted_together() -> None:
    codes = Codes()
    counted = codes.counted({f"Code{number}": 1 for number in range(MOST_CODES + 10)})
    assert counted[OTHERS] == 10
    assert len(counted) == MOST_CODES + 1
    assert codes.label("Code0") == "Code0"
