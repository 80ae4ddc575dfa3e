"""A cell's report to its controller: hello, then heartbeats and events, as often as the controller asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from grpclib.server import Stream

from cellagent.link.heartbeat import Interval, beats
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.rpc.grpclib_patches import ping_each
from cellwire.rpc.limits import CELL_SERVER


class Reporting:
    """Answers Report. `usual` is the interval in seconds where the controller does not say how often it will hear."""

    def __init__(
        self,
        hello: Callable[[], wire.Hello],
        usual: float,
        running_containers: Callable[[], int],
        events: asyncio.Queue[wire.CellEvent],
    ) -> None:
        self._hello = hello
        self._usual = usual
        self._running_containers = running_containers
        self._events = events

    async def serve(self, stream: Stream[wire.ReportRequest, wire.ReportMessage]) -> None:
        """One report, for as long as its connection stands."""
        first = await stream.recv_message()
        if first is None:
            return
        interval = Interval(self._usual)
        _heed(first, stream, interval)
        await stream.send_message(wire.ReportMessage(hello=self._hello()))
        async with asyncio.TaskGroup() as tasks:
            heeding = tasks.create_task(_go_on(stream, interval), name="what the report is to be")
            async for message in beats(interval, self._running_containers, self._events):
                await stream.send_message(message)
            heeding.cancel()


async def _go_on(stream: Stream[wire.ReportRequest, wire.ReportMessage], interval: Interval) -> None:
    async for request in stream:
        _heed(request, stream, interval)


def _heed(
    request: wire.ReportRequest, stream: Stream[wire.ReportRequest, wire.ReportMessage], interval: Interval
) -> None:
    interval.heed(request)
    # A controller with many cells has their pings to answer, too.
    ping_each(stream, max(interval.seconds, CELL_SERVER.ping_after or 0.0))
