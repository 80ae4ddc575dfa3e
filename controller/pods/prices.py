"""Prices of pods, for an hour: by the cells that they have, else as the cheapest offer that fits them is priced."""

from __future__ import annotations

from collections.abc import Callable

from cellwire.faults import Fault
from controller.fleet.cells import Telling
from controller.model import cost
from controller.model.offer import Demand
from controller.objects.fields import Json
from controller.objects.pod_demand import spec_of
from controller.objects.schema.pods import PodSpec


class Prices:
    """Prices of pods, asked of the fleet."""

    def __init__(self, cells: Telling, demand_of: Callable[[PodSpec], Demand]) -> None:
        self._cells = cells
        self._demand_of = demand_of

    def now(self) -> Callable[[Json], float]:
        """The price of each pod in USD per hour, as things are now."""
        paid = {cell.claim.pod.uid: cost.usd_per_hour(cell) for cell in self._cells.list() if cell.claim is not None}

        def of(pod: Json) -> float:
            return paid.get(pod["metadata"]["uid"]) or self._estimate(pod)

        return of

    def _estimate(self, pod: Json) -> float:
        try:
            return self._cells.estimate(self._demand_of(spec_of(pod["spec"])), pod["metadata"].get("annotations") or {})
        except Fault:
            return 0.0  # whoever looks for an offer says what is wrong with it
