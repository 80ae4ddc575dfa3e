"""Events of pods behind a kubelet, sent to their API server: what is launched for them, at what price, why they wait.

What is said again raises the count of its event. What cannot be sent is tried again with what comes next; an event is
lost rather than a queue that grows without end.
"""

from __future__ import annotations

import asyncio
import datetime
import time
import uuid
from collections import OrderedDict

import structlog

from cellwire.faults import Fault, Kind
from controller.cluster.client import ApiClient
from controller.cluster.kubeconfig import Json
from controller.fleet.cells import Cells
from controller.model import cost
from controller.model.cell import Cell, CellState
from controller.model.names import CellName
from controller.model.pod import PodRef
from controller.sandboxes.progress import Progress

log = structlog.get_logger()
MOST_KEPT = 2000
MOST_WAITING = 500
LONGEST_MESSAGE = 1024
PAUSE = 2.0
_HAD = frozenset({CellState.BOOTING, CellState.READY, CellState.CLAIMED})


class Events:
    """Events of pods, and their way to the API server."""

    def __init__(self, client: ApiClient, node: str) -> None:
        self._client = client
        self._node = node
        self._sent: OrderedDict[tuple[str, ...], Json] = OrderedDict()
        self._waiting: asyncio.Queue[tuple[PodRef, str, str, str]] = asyncio.Queue(MOST_WAITING)

    def say(self, pod: PodRef, kind: str, reason: str, message: str) -> None:
        """Something about a pod: `kind` is Normal or Warning."""
        try:
            self._waiting.put_nowait((pod, kind, reason, message[:LONGEST_MESSAGE]))
        except asyncio.QueueFull:
            log.warning("an event is not told: too many wait", pod=f"{pod.namespace}/{pod.name}", reason=reason)

    async def work(self) -> None:
        """Send them, for ever, one after another."""
        while True:
            pod, kind, reason, message = await self._waiting.get()
            try:
                await self._send(pod, kind, reason, message)
            except Fault as fault:
                log.warning("an event was not told", pod=f"{pod.namespace}/{pod.name}", cause=str(fault))
                await asyncio.sleep(PAUSE)

    async def _send(self, pod: PodRef, kind: str, reason: str, message: str) -> None:
        key = (str(pod.uid), kind, reason, message)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        folder = f"/api/v1/namespaces/{pod.namespace}/events"
        known = self._sent.get(key)
        if known is not None:
            count = int(known["count"]) + 1
            try:
                name = known["metadata"]["name"]
                self._sent[key] = await self._client.patch(f"{folder}/{name}", {"count": count, "lastTimestamp": now})
            except Fault as fault:
                if fault.kind is not Kind.NOT_FOUND:
                    raise
            else:
                self._sent.move_to_end(key)
                return
        self._sent[key] = await self._client.post(folder, self._event(pod, kind, reason, message, now))
        while len(self._sent) > MOST_KEPT:
            self._sent.popitem(last=False)

    def _event(self, pod: PodRef, kind: str, reason: str, message: str, now: str) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{pod.name[:230]}.{uuid.uuid4().hex[:16]}", "namespace": pod.namespace},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": str(pod.uid),
            },
            "reason": reason,
            "message": message,
            "type": kind,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "chinampa", "host": self._node},
        }  # fmt: skip


class EventMemory:
    """What has been said of each cell, so that nothing is said twice."""

    def __init__(self) -> None:
        self._said: dict[CellName, set[str]] = {}

    def news(self, cell: Cell) -> list[tuple[str, str, str]]:
        """Kind, reason and message of what there is to say of a pod's cell that has not been said."""
        if cell.state is CellState.GONE:
            self._said.pop(cell.name, None)
            return []
        said = self._said.setdefault(cell.name, set())
        found = [one for one in _worth_saying(cell) if one[2] not in said]
        said.update(message for _, _, message in found)
        return found


def _worth_saying(cell: Cell) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    if cell.state in {CellState.REQUESTED, CellState.LAUNCHING}:
        if cell.reason:
            found.append(("Warning", "LaunchDelayed", f"{cell.reason}; it goes on being tried"))
        else:
            asked = f"{cell.demand.cpu_millis} thousandths of a CPU, {cell.demand.memory_mib} MiB"
            more = f", {cell.demand.gpus} GPUs" if cell.demand.gpus else ""
            found.append(("Normal", "Launching", f"Launching {cell.name} for {asked}{more}"))
    elif cell.state in _HAD and (bought := cost.bought(cell)):
        took = cell.standby is not None
        found.append(
            ("Normal", "Took", f"Took {cell.name}, which stood by, on {bought}")
            if took
            else ("Normal", "Launched", f"Launched {cell.name} on {bought}")
        )
    elif cell.state is CellState.LOST:
        found.append(("Warning", "CellLost", f"{cell.name} is lost: {cell.reason or 'it cannot be reached'}"))
    if cell.announced is not None:
        ends = " will be reclaimed" if cell.announced.ends else ""
        at = cell.announced.at
        when = f" at {datetime.datetime.fromtimestamp(at, datetime.UTC):%H:%M:%S} UTC" if at > 0 else ""
        said = f"instance {cell.instance}{ends}{when}: {cell.announced.message}"
        found.append(("Warning", "Interrupted" if cell.announced.ends else "InterruptionExpected", said))
    return found


async def tell(cells: Cells, events: Events, claimed_by: str) -> None:
    """For ever: say of the pods that a room has claimed cells for what becomes of their cells."""
    told, began = EventMemory(), time.time()
    async for cell in cells.watch():
        if cell.claim is None or cell.claim.by != claimed_by:
            continue
        news = told.news(cell)
        # What was so before this start has been said by whoever was there then.
        if max(cell.moments.values(), default=cell.created_at) < began and cell.state is CellState.CLAIMED:
            continue
        for kind, reason, message in news:
            events.say(cell.claim.pod, kind, reason, message)


async def tell_progress(cells: Cells, events: Events, claimed_by: str) -> None:
    """For ever: say of those pods how far the pulls of their images are, and that their cells are not believed."""
    progress = Progress()
    async for name, happened in cells.events():
        cell, news = cells.get(name), progress.news(name, happened, time.time())
        if news is not None and cell is not None and cell.claim is not None and cell.claim.by == claimed_by:
            events.say(cell.claim.pod, *news)
