"""What a pod is told of the cell that was bought for it: in events, and in annotations. Pure."""

from __future__ import annotations

from controller.choice.requirements import PREFIX, SHOWN
from controller.model import cost
from controller.model.cell import Announcement, Cell
from controller.objects.schema.pods import Pod
from controller.sandboxes.reducer import INTERRUPTED

REASONS = {"rebalance": "RebalanceRecommended", "maintenance": "MaintenanceScheduled"}


def assigned(pod: Pod, cell: Cell) -> str:
    """Of the event that the pod has its cell."""
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if cell.offer is None:
        return f"Successfully assigned {name} to cell {cell.name}"
    offer = cell.offer
    bought = f"{offer.shape.type} in {offer.zone}, {offer.launch_type.value}, {offer.usd_per_hour:.4f} USD an hour"
    return f"Successfully assigned {name} to cell {cell.name} ({bought})"


def launched(cell: Cell) -> tuple[str, str]:
    """Reason and message of the event that a cell of the pod has its instance; empty where its price is not known."""
    bought = cost.bought(cell)
    if not bought:
        return "", ""
    if cell.standby is not None:
        return "Took", f"Took {cell.name}, which stood by, on {bought}"
    return "Launched", f"Launched {cell.name} on {bought}"


def announced(known: Announcement) -> str:
    """Reason of the event that the cloud will do something to the cell's instance."""
    return INTERRUPTED if known.ending_since or known.kind not in REASONS else REASONS[known.kind]


def shown(cell: Cell) -> dict[str, str]:
    """The annotations that tell of a pod's cell."""
    if cell.offer is None:
        return {}
    offer = cell.offer
    told = (offer.shape.type, offer.launch_type.value, offer.zone, f"{offer.usd_per_hour:.6f}")
    return {f"{PREFIX}{name}": text for name, text in zip(SHOWN, told, strict=True)}
