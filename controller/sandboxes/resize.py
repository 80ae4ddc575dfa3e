"""Whether a container's or pod's new resources fit the machine that its pod has. Pure.

A cell is an instance of one size, and a running pod cannot move to another.
"""

from __future__ import annotations

from cellwire.cri.unlimited import settled
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.model.cell import Cell

MIB = 1 << 20


def require_fits(thing: str, asked: cri.LinuxContainerResources, cell: Cell) -> None:
    """Raises Fault INVALID naming what is asked and what there is; a cell of unknown size takes anything."""
    if cell.offer is None:
        return
    asked = settled(asked)
    shape = cell.offer.shape
    if asked.memory_limit_in_bytes > shape.memory_mib * MIB:
        raise _too_much(thing, cell, f"{asked.memory_limit_in_bytes / MIB:.0f} MiB", f"{shape.memory_mib} MiB")
    if asked.cpu_quota <= 0 or asked.cpu_period <= 0:
        return
    millis = asked.cpu_quota * 1000 / asked.cpu_period
    if millis > shape.cpu_millis:
        raise _too_much(thing, cell, f"{millis / 1000:g} CPUs", f"{shape.cpu_millis / 1000:g}")


def _too_much(thing: str, cell: Cell, asked: str, present: str) -> Fault:
    kind = cell.offer.shape.type if cell.offer is not None else "its instance"
    return Fault(
        Kind.INVALID,
        f"resize of {thing}",
        f"{asked} is asked, and cell {cell.name} ({kind}) has {present}",
        "delete the pod and create it with the new size: a running pod cannot move to another instance",
        reason="Infeasible",
    )
