"""What cells say of themselves: their report."""

from __future__ import annotations

from collections.abc import AsyncIterator

from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.rpc.call import settled


async def report(channel: Channel) -> AsyncIterator[wire.ReportMessage]:
    """What a cell reports, for as long as its connection stands. Raises Fault when that breaks."""
    with settled():
        async with cell_grpc.CellStub(channel).Report.open() as stream:
            await stream.send_message(wire.ReportRequest(), end=True)
            async for message in stream:
                yield message
