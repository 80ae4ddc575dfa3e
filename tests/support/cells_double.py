"""A double of the fleet whose cells are doubles too (see cri_double), and the services that those answer."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from grpclib.client import Channel

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cell.v1.cell_grpc import CellBase
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import ImageServiceBase, RuntimeServiceBase
from cellwire.faults import Fault, Kind
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.serve import serving
from cellwire.stream.service import SessionService
from controller.choice.unavailable import Unavailable
from controller.fleet.pool.keeper import Figures
from controller.fleet.reports import Vitals
from controller.link.report_checks import Happened
from controller.model.cell import Announcement, Cell, CellState, NoticeKind
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand, LaunchType, Offer, Shape
from controller.model.pod import PodClaim
from tests.support.cri_double import CellDouble

OFFER = Offer(
    shape=Shape(type="d1.small", architecture="amd64", cpu_millis=1000, memory_mib=1024, baseline_millis=1000),
    zone="double-1a",
    launch_type=LaunchType.SPOT,
    usd_per_hour=0.0145,
)
# Of a log at a time, as an agent reads it.
CHUNK = 256 << 10


def _concrete(base: type, **methods: Any) -> type:
    """A service in which every other call answers that it is not there."""

    async def missing(self: Any, stream: Any) -> None:
        raise Fault(Kind.UNSUPPORTED, "the double", "it does not do this")

    return type(base.__name__, (base,), dict.fromkeys(base.__abstractmethods__, missing) | methods)  # type: ignore[attr-defined]


def _unary(function: Any) -> Any:
    async def handle(self: Any, stream: Any) -> None:
        await stream.send_message(await function(self.cell, await stream.recv_message()))

    return handle


async def _events(self: Any, stream: Any) -> None:
    await stream.recv_message()
    queue: asyncio.Queue[cri.ContainerEventResponse] = asyncio.Queue()
    self.cell.events.append(queue)
    await stream.send_initial_metadata()
    while True:
        await stream.send_message(await queue.get())


async def _logs(self: Any, stream: Any) -> None:
    request = await stream.recv_message()
    one = self.cell.find(request.container_id)
    at = request.offset
    while True:
        changed, data = one.changed, bytes(one.log[at : at + CHUNK])
        over = one.status.state == cri.CONTAINER_EXITED and at + len(data) == len(one.log)
        await stream.send_message(wire.LogChunk(offset=at, data=data, end=over))
        at += len(data)
        if over:
            return
        if at == len(one.log):
            await changed.wait()


async def _put_files(self: Any, stream: Any) -> None:
    folder, entries, tree, path = "", [], {}, ""
    async for message in stream:
        if message.HasField("start"):
            folder = message.start.folder
        elif message.HasField("entry"):
            path = message.entry.path
            entries.append(path)
            tree[path] = message.entry.target.encode()
        elif message.data:
            tree[path] += message.data
    self.cell.folders[folder] = entries
    self.cell.trees[folder] = tree
    await stream.send_message(wire.PutFilesReply(entries=len(entries)))


def services(cell: CellDouble, **more: Any) -> list[Any]:
    """What a double answers; `more` are handlers of cell.v1 for what it does not do itself, such as Report."""
    runtime = _concrete(
        RuntimeServiceBase,
        RunPodSandbox=_unary(CellDouble.run),
        ListPodSandbox=_unary(CellDouble.list_sandboxes),
        StopPodSandbox=_unary(CellDouble.stop_sandbox),
        PodSandboxStatus=_unary(CellDouble.sandbox_status),
        CreateContainer=_unary(CellDouble.create),
        StartContainer=_unary(CellDouble.start),
        StopContainer=_unary(CellDouble.stop),
        RemoveContainer=_unary(CellDouble.remove),
        ListContainers=_unary(CellDouble.list_containers),
        ContainerStatus=_unary(CellDouble.status),
        ListContainerStats=_unary(CellDouble.stats),
        ExecSync=_unary(CellDouble.exec_sync),
        GetContainerEvents=_events,
    )
    images = _concrete(ImageServiceBase, ImageStatus=_unary(CellDouble.image), PullImage=_unary(CellDouble.pull))
    sessions = SessionService(cell)  # type: ignore[arg-type]
    own = _concrete(
        CellBase,
        Logs=_logs,
        MakeContainer=_unary(CellDouble.make),
        PutFiles=_put_files,
        ReadFile=_unary(CellDouble.read_file),
        Exec=lambda _, stream: sessions.Exec(stream),
        Attach=lambda _, stream: sessions.Attach(stream),
        PortForward=lambda _, stream: sessions.PortForward(stream),
        **more,
    )
    made = [runtime(), images(), own()]
    for service in made:
        service.cell = cell
    return made


class CellsDouble:
    """A fleet whose every cell is a double; `refuse` is the fault that claims end in."""

    def __init__(self, tasks: asyncio.TaskGroup, folder: Path) -> None:
        self.tasks, self.folder = tasks, folder
        self.doubles: dict[CellName, CellDouble] = {}
        self.channels: dict[CellName, Channel] = {}
        self.cells: dict[CellName, Cell] = {}
        self.released: list[str] = []
        self.refuse: Fault | None = None
        self.happened: asyncio.Queue[tuple[CellName, Happened]] = asyncio.Queue()
        self.serving: list[asyncio.Task[None]] = []
        self.watchers: list[asyncio.Queue[Cell]] = []
        self.said: dict[CellName, Vitals] = {}
        self.cut_off: set[CellName] = set()
        """Cells that are not connected, and may come back."""
        self.sandboxes_go = asyncio.Event()
        """Until this is set no cell makes a sandbox."""
        self.sandboxes_go.set()
        self.pulls_go = asyncio.Event()
        """Until this is set no pull that is asked for ends."""
        self.pulls_go.set()

    async def claim(self, claim: PodClaim) -> Cell:
        if self.refuse is not None:
            raise self.refuse
        for cell in self.cells.values():
            if cell.claim is not None and (cell.claim.pod == claim.pod):
                return cell
        name = CellName(f"c-{len(self.doubles)}")
        double = CellDouble(self.tasks, self.sandboxes_go, self.pulls_go)
        path = self.folder / f"{name}.sock"
        ready = asyncio.Event()

        async def serve() -> None:
            try:
                async with serving(services(double), path):
                    ready.set()
                    await asyncio.Event().wait()
            finally:
                double.kill_all()

        self.doubles[name] = double
        self.serving.append(self.tasks.create_task(serve()))
        await ready.wait()
        self.channels[name] = MendedChannel(CELL, path=str(path))
        self.cells[name] = Cell(
            name=name,
            instance=InstanceId(f"i-{len(self.doubles)}"),
            offer=OFFER,
            state=CellState.CLAIMED,
            demand=claim.demand,
            claim=claim,
            address="10.8.0.2",
            connected=True,
            created_at=time.time(),
            changed_at=time.time(),
        )
        self._tell(self.cells[name])
        return self.cells[name]

    async def events(self) -> AsyncIterator[tuple[CellName, Happened]]:
        """What a test says that happens on them; for one listener."""
        while True:
            yield await self.happened.get()

    async def release(self, name: CellName, reason: str) -> None:
        if self.cells.pop(name, None) is not None:
            self.doubles[name].kill_all()
            self.released.append(name)

    def lose(self, name: CellName) -> None:
        cell = self.cells.pop(name)
        self.doubles[name].kill_all()
        self._tell(Cell(name=name, state=CellState.LOST, demand=cell.demand, reason="silent for 40 s"))

    def announce(self, name: CellName, kind: NoticeKind, seconds: float, *, ends: bool = True) -> None:
        """The cloud says that the instance ends in so many seconds, and the fleet that the pod is to end."""
        now = time.time()
        said = Announcement(
            kind=kind, at=now + seconds, message="taken", heard_at=now, ends=ends, ending_since=now if ends else 0.0
        )
        self.cells[name] = msgspec.structs.replace(self.cells[name], announced=said)
        self._tell(self.cells[name])

    def end(self) -> None:
        for double in self.doubles.values():
            double.kill_all()
        for channel in self.channels.values():
            channel.close()
        for task in self.serving:
            task.cancel()

    def get(self, name: CellName) -> Cell | None:
        return self.cells.get(name)

    def list(self) -> tuple[Cell, ...]:
        return tuple(self.cells.values())

    def vitals(self, name: CellName) -> Vitals | None:
        return self.said.get(name)

    def estimate(self, demand: Demand, annotations: Any) -> float:
        return OFFER.usd_per_hour

    def pool(self) -> tuple[Figures, ...]:
        return ()

    def likely_images(self, of: str) -> tuple[str, ...]:
        return ()

    def unavailable(self) -> Unavailable:
        return Unavailable()

    def refusals(self) -> dict[str, int]:
        return {}

    def channel(self, name: CellName) -> Channel:
        if name not in self.cells:
            raise Fault(Kind.UNAVAILABLE, f"cell {name}", "it is gone")
        if name in self.cut_off:
            raise Fault(Kind.UNREACHABLE, f"cell {name}", "it is not connected")
        return self.channels[name]

    async def connected(self, name: CellName) -> Channel:
        if name in self.cut_off:
            await asyncio.Event().wait()
        return self.channel(name)

    async def watch(self) -> AsyncIterator[Cell]:
        news: asyncio.Queue[Cell] = asyncio.Queue()
        self.watchers.append(news)
        for cell in tuple(self.cells.values()):
            news.put_nowait(cell)
        while True:
            yield await news.get()

    def _tell(self, cell: Cell) -> None:
        for news in self.watchers:
            news.put_nowait(cell)


def demand_of(spec: Any) -> Demand:
    """The same for every pod."""
    return Demand(cpu_millis=100, memory_mib=64)


@asynccontextmanager
async def cells() -> AsyncGenerator[CellsDouble]:
    """A fleet of doubles, all of which end with it."""
    folder = Path(tempfile.mkdtemp(prefix="pods-double-"))
    try:
        async with asyncio.TaskGroup() as tasks:
            fleet = CellsDouble(tasks, folder)
            try:
                yield fleet
            finally:
                fleet.end()
    finally:
        shutil.rmtree(folder)
