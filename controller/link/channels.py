"""Which cell is connected, and by which connection: the newest wins, for the cell knows better than we what is dead."""

from __future__ import annotations

from cellwire.faults import Fault, Kind
from cellwire.rpc.reverse import TurnedChannel
from controller.model.names import CellName


class Channels:
    """The channels of the connected cells."""

    def __init__(self) -> None:
        self._by_cell: dict[CellName, TurnedChannel] = {}

    def get(self, cell: CellName) -> TurnedChannel:
        """The channel to a connected cell. Raises Fault UNREACHABLE."""
        channel = self._by_cell.get(cell)
        if channel is None or channel.lost:
            raise Fault(Kind.UNREACHABLE, f"cell {cell}", "it is not connected now", "it redials by itself; ask again")
        return channel

    def names(self) -> frozenset[CellName]:
        """The cells that are connected now."""
        return frozenset(cell for cell, channel in self._by_cell.items() if not channel.lost)

    def put(self, cell: CellName, channel: TurnedChannel) -> None:
        """The cell has dialled; what it dialled before is closed."""
        former = self._by_cell.get(cell)
        self._by_cell[cell] = channel
        if former is not None:
            former.close()

    def remove(self, cell: CellName, channel: TurnedChannel) -> bool:
        """This connection has ended; False where it was not the newest any more."""
        channel.close()
        if self._by_cell.get(cell) is not channel:
            return False
        del self._by_cell[cell]
        return True

    def close(self) -> None:
        """End all connections; the cells redial whoever comes next."""
        for channel in self._by_cell.values():
            channel.close()
