"""What cells say of themselves: their report, and the leases that it renews.

A lease is a value: when each cell was last heard. Who is silent is a question of `now`, asked by the fleet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec
from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.rpc.call import settled
from controller.model.names import CellName


class Leases(msgspec.Struct, frozen=True):
    """When each cell was last heard, in seconds of the clock that the asker uses."""

    heard: Mapping[CellName, float] = {}

    def renewed(self, cell: CellName, now: float) -> Leases:
        """The same after a word from a cell."""
        return Leases({**self.heard, cell: now})

    def without(self, cell: CellName) -> Leases:
        """The same without a cell that is over."""
        return Leases({name: at for name, at in self.heard.items() if name != cell})

    def silent(self, now: float, lease: float) -> frozenset[CellName]:
        """The cells not heard for the time of a lease."""
        return frozenset(cell for cell, at in self.heard.items() if now - at > lease)


async def report(channel: Channel) -> AsyncIterator[wire.ReportMessage]:
    """What a cell reports, for as long as its connection stands. Raises Fault when that breaks."""
    with settled():
        async with cell_grpc.CellStub(channel).Report.open() as stream:
            await stream.send_message(wire.ReportRequest(), end=True)
            async for message in stream:
                yield message
