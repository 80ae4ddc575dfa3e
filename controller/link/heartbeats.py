"""What cells say of themselves: their report; and what they are told, which is how often."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from grpclib.client import Channel

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.rpc.call import translate_errors


async def report(channel: Channel, interval: Callable[[], float]) -> AsyncIterator[wire.ReportMessage]:
    """What a cell reports, for as long as its connection stands. Raises Fault when that breaks.

    `interval` is asked how many seconds there are to be between heartbeats, 0 for what the cell's settings say. The
    cell is told at the beginning, and after the first heartbeat after a change: so not all are told at once.
    """
    with translate_errors():
        async with cell_grpc.CellStub(channel).Report.open() as stream:
            told = interval()
            await stream.send_message(wire.ReportRequest(heartbeat_interval_ms=round(told * 1000)))
            async for message in stream:
                yield message
                if message.HasField("heartbeat") and (wanted := interval()) != told:
                    told = wanted
                    await stream.send_message(wire.ReportRequest(heartbeat_interval_ms=round(told * 1000)))
