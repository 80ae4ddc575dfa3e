"""A container grows within its cell, and is refused with both numbers beyond it."""

from __future__ import annotations

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.model.offer import Demand, LaunchType, Offer, Shape
from controller.sandboxes.resize import require_fits

SHAPE = Shape(type="t3.small", architecture="amd64", cpu_millis=2000, memory_mib=2048, baseline_millis=400)
CELL = Cell(
    name=CellName("c-1"),
    state=CellState.CLAIMED,
    demand=Demand(cpu_millis=100, memory_mib=100),
    offer=Offer(shape=SHAPE, zone="a", launch_type=LaunchType.ON_DEMAND, usd_per_hour=0.02),
)


@pytest.mark.parametrize(
    "asked",
    [
        cri.LinuxContainerResources(),
        cri.LinuxContainerResources(memory_limit_in_bytes=2048 << 20, cpu_quota=200_000, cpu_period=100_000),
        cri.LinuxContainerResources(cpu_quota=-1, cpu_period=100_000),
        # What a kubelet on control groups of version 1 writes for "unlimited".
        cri.LinuxContainerResources(memory_limit_in_bytes=8796093022207 << 20),
        cri.LinuxContainerResources(memory_limit_in_bytes=-1),
    ],
)
def test_what_the_cell_has_may_be_asked(asked: cri.LinuxContainerResources) -> None:
    require_fits("container web", asked, CELL)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (cri.LinuxContainerResources(memory_limit_in_bytes=4096 << 20), "4096 MiB is asked"),
        (cri.LinuxContainerResources(cpu_quota=250_000, cpu_period=100_000), "2.5 CPUs is asked"),
    ],
)
def test_what_the_cell_lacks_is_refused_by_its_numbers(asked: cri.LinuxContainerResources, words: str) -> None:
    with pytest.raises(Fault, match=words) as refused:
        require_fits("container web", asked, CELL)
    assert "t3.small" in str(refused.value)
