"""A cell's report to its controller: hello, then heartbeats and events, as often as the controller asks for.

What happens on the cell is kept until a report carries it; the newest where nobody listens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from grpclib.server import Stream

from cellagent.images.messages import PullDelayed, PullProgress
from cellagent.link.heartbeat import Interval, beats
from cellagent.link.redialling import RedialWindow
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.rpc.grpclib_patches import ping_each
from cellwire.rpc.limits import CELL_SERVER

# A pull tells of each chunk; a person, and the controller's budget for a cell, are served by one word a second.
EACH_SECONDS = 1.0
KEPT = 100


class CellEvents:
    """Events of the cell that wait for a report, and the pulls of which they tell."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.queue: asyncio.Queue[wire.CellEvent] = asyncio.Queue(KEPT)
        self._clock = clock
        self._told: dict[str, float] = {}

    def pulling(self, progress: PullProgress | PullDelayed) -> None:
        """How far a pull is: told at its beginning, each second, and at its end; and what it waits for."""
        now = self._clock()
        if isinstance(progress, PullDelayed):
            said = f"the pull of image {progress.image} waits: {progress.why}"
            self._tell(wire.CellEvent(at=now, reason="PullDelayed", message=said, warning=True))
            return
        done = 0 < progress.layers_total <= progress.layers_done
        if not done and now - self._told.get(progress.image, 0.0) < EACH_SECONDS:
            return
        if done:
            if self._told.pop(progress.image, None) is None:
                return
        else:
            self._told[progress.image] = now
        self._tell(
            wire.CellEvent(
                at=now,
                reason="Pulled" if done else "Pulling",
                message=_sentence(progress, done=done),
                pull=wire.PullProgress(
                    image=progress.image,
                    bytes_done=progress.bytes_done,
                    bytes_total=progress.bytes_total,
                    layers_done=progress.layers_done,
                    layers_total=progress.layers_total,
                ),
            )
        )

    def _tell(self, event: wire.CellEvent) -> None:
        if self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(event)


def _sentence(progress: PullProgress, *, done: bool) -> str:
    mib = progress.bytes_done / (1 << 20)
    if done:
        return f"image {progress.image} is pulled: {mib:.1f} MiB in {progress.layers_total} layers"
    if not progress.layers_total:
        return f"image {progress.image} is being pulled"
    layers = f"{progress.layers_done} of {progress.layers_total} layers"
    if not progress.bytes_total:
        return f"image {progress.image} is being pulled: {mib:.1f} MiB, {layers}"
    return f"image {progress.image} is being pulled: {mib:.1f} of {progress.bytes_total / (1 << 20):.1f} MiB, {layers}"


class Reporting:
    """Answers Report. `usual` is the interval in seconds where the controller does not say how often it will hear;
    `window` is kept for when it is lost.
    """

    def __init__(
        self,
        hello: Callable[[], wire.Hello],
        usual: float,
        running_containers: Callable[[], int],
        events: asyncio.Queue[wire.CellEvent],
        window: RedialWindow,
    ) -> None:
        self._window = window
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
        self._heed(first, stream, interval)
        await stream.send_message(wire.ReportMessage(hello=self._hello()))
        async with asyncio.TaskGroup() as tasks:
            heeding = tasks.create_task(self._go_on(stream, interval), name="what the report is to be")
            async for message in beats(interval, self._running_containers, self._events):
                await stream.send_message(message)
            heeding.cancel()

    async def _go_on(self, stream: Stream[wire.ReportRequest, wire.ReportMessage], interval: Interval) -> None:
        async for request in stream:
            self._heed(request, stream, interval)

    def _heed(
        self, request: wire.ReportRequest, stream: Stream[wire.ReportRequest, wire.ReportMessage], interval: Interval
    ) -> None:
        self._window.heed(request)
        interval.heed(request)
        # A controller with many cells has their pings to answer, too.
        ping_each(stream, max(interval.seconds, CELL_SERVER.ping_after or 0.0))
