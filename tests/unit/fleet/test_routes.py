"""Which networks are led to which instances."""

from __future__ import annotations

import pytest

from cellwire.faults import Fault
from controller.choice import requirements
from controller.fleet.cloud_routes import routes
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef


def cell(name: str, state: CellState, route: str = "", created: float = 0.0) -> Cell:
    demand = Demand(cpu_millis=100, memory_mib=100)
    annotations = {"chinampa.dev/cloud-route": route} if route else {}
    pod = PodRef(uid=PodUid(name), namespace="default", name=name, attempt=0)
    claim = PodClaim(pod=pod, demand=demand, labels={}, annotations=annotations)
    return Cell(
        name=CellName(name),
        state=state,
        demand=demand,
        claim=claim,
        instance=InstanceId(f"i-{name}"),
        created_at=created,
    )


def test_networks_lead_to_cells_that_are_there_the_older_first() -> None:
    found = routes(
        [
            cell("new", CellState.BOOTING, "10.8.0.0/24", created=2.0),
            cell("old", CellState.CLAIMED, "10.8.0.0/24, fd00::/64", created=1.0),
            cell("plain", CellState.CLAIMED),
            cell("over", CellState.RETIRING, "10.9.0.0/24"),
            cell("lost", CellState.LOST, "10.9.0.0/24"),
        ]
    )
    assert list(found.items()) == [("i-old", ("10.8.0.0/24", "fd00::/64")), ("i-new", ("10.8.0.0/24",))]


@pytest.mark.parametrize("text", ["", ",", "10.8.0.1/24", "gateway"])
def test_what_is_no_network_is_refused_before_a_launch(text: str) -> None:
    with pytest.raises(Fault, match="cloud-route"):
        requirements.read({"chinampa.dev/cloud-route": text})
