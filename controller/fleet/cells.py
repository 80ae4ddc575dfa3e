"""What shim, pods and API may ask of the fleet: a cell for a pod, the way to it, and what happens to it.

This protocol is the cut at which a shim can become a process of its own; nothing else of the fleet is seen outside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from grpclib.client import Channel

from controller.choice.unavailable import Unavailable
from controller.fleet.pool.keeper import Figures
from controller.fleet.reports import Vitals
from controller.link.report_checks import Happened
from controller.model.cell import Cell
from controller.model.names import CellName
from controller.model.offer import Demand
from controller.model.pod import PodClaim


class Cells(Protocol):
    """A cell for a pod, and the way to it."""

    async def claim(self, claim: PodClaim) -> Cell:
        """The cell of this pod attempt, claimed and connected; launches one where there is none.

        Idempotent on (uid, attempt): a second caller waits for the same cell. Waits as long as the caller lets it;
        a cancelled caller leaves the cell coming. Raises Fault NO_CAPACITY, INVALID (no type fits), DENIED,
        UNAVAILABLE (lost on the way), each with its reason in words.
        """
        ...

    async def release(self, name: CellName, reason: str) -> None:
        """The pod is over: retire the cell. Returns once that is written down. Unknown names are over already."""
        ...

    def get(self, name: CellName) -> Cell | None:
        """The cell as known now."""
        ...

    def list(self) -> tuple[Cell, ...]:
        """All cells that are not gone, by name."""
        ...

    def channel(self, name: CellName) -> Channel:
        """The gRPC channel to a connected cell. Raises Fault UNREACHABLE while it is not connected."""
        ...

    async def connected(self, name: CellName) -> Channel:
        """As `channel`, but waits for the cell to (re)connect; raises Fault UNAVAILABLE once it is lost or gone."""
        ...

    def watch(self) -> AsyncIterator[Cell]:
        """Every cell as it is now, then each change of state or connection, until the caller stops iterating."""
        ...

    def events(self) -> AsyncIterator[tuple[CellName, Happened]]:
        """What cells say happened on them (how far a pull is), from now on, until the caller stops iterating."""
        ...


class Telling(Cells, Protocol):
    """What the fleet tells of itself where it runs."""

    def vitals(self, name: CellName) -> Vitals | None:
        """What a connected cell last said of itself; None where it has said nothing yet."""
        ...

    def pool(self) -> tuple[Figures, ...]:
        """Hits, misses and stock of each class of warm cells."""
        ...

    def likely_images(self, of: str) -> tuple[str, ...]:
        """Images that the next pods of a class of warm cells will likely need."""
        ...

    def estimate(self, demand: Demand, annotations: Mapping[str, str]) -> float:
        """What the cheapest offer for such a pod costs in USD per hour; 0 where none fits. Raises Fault INVALID."""
        ...

    def unavailable(self) -> Unavailable:
        """Which offers the cloud refused of late."""
        ...

    def refusals(self) -> Mapping[str, int]:
        """How often launches were refused, by the cloud's code or else the kind of fault, since the start."""
        ...
