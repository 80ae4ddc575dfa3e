"""The shim's room: CRI v1 on a unix socket, and the streaming server whose URLs it hands out.

Opening it takes up what an earlier life of the controller was doing: sandboxes keep their ids, followers and copiers
go on where they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from grpclib.client import Channel

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.serve import serving
from cellwire.stream.counted import CountedBackend
from cellwire.stream.remote import RemoteBackend
from cellwire.stream.session import Session, SessionRequest, Tunnel
from cellwire.stream.streaming_server import running as streaming_server
from controller.fleet.cells import Cells
from controller.model.names import CellName
from controller.model.offer import Demand
from controller.objects.schema.pods import PodSpec
from controller.sandboxes.cell_calls import PATIENCE
from controller.sandboxes.memory import Memory
from controller.sandboxes.pulling import NOBODY, RegistryAccess
from controller.sandboxes.room import running as sandboxes_room
from controller.sandboxes.stats import Stats
from controller.sandboxes.ways import Ways
from controller.shim import front
from controller.shim.abilities import Abilities
from controller.shim.container_creation import Creating
from controller.shim.images import Images, ShimImageService
from controller.shim.patience import PullBackoff
from controller.shim.runtime import ShimRuntimeService
from controller.shim.sandboxes import CLAIMED_BY, SandboxCalls
from controller.shim.stock import Stock
from controller.shim.syncing import VolumeSync
from controller.shim.volume_limits import VolumeLimits
from controller.shim.worker_placement import Rules
from controller.store.record_store import Store
from hostkit.inotify import Inotify

log = structlog.get_logger()
ABANDONED_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class ShimSettings:
    """Settings of the shim: its socket, and the kubelet's folder of pods' files.

    `socket` unix socket of CRI; `pods_folder` the kubelet's `pods` folder; `folder` of ours on this worker;
    `streaming_host` the loopback address on which exec URLs are served; `worker` the socket of the worker's own agent,
    for the pods that `rules` name; `image_patience` for how many seconds a cell waits for an image that cannot be
    pulled, 0 for ever.
    """

    socket: Path
    folder: Path
    pods_folder: str = "/var/lib/kubelet/pods"
    streaming_host: str = "127.0.0.1"
    worker: Path | None = None
    rules: Rules = field(default_factory=Rules)
    image_patience: float = 0.0


class CellBackend:
    """Sessions in whichever cell holds the container. Implements the streaming room's Backend."""

    def __init__(self, cells: Cells, memory: Memory) -> None:
        self._cells = cells
        self._memory = memory

    def exec(self, request: SessionRequest) -> AbstractAsyncContextManager[Session]:
        """Start a command in a running container."""
        return self._of_cell(self._memory.container(request.container_id).cell).exec(request)

    def attach(self, request: SessionRequest) -> AbstractAsyncContextManager[Session]:
        """Attach to the container's own process."""
        return self._of_cell(self._memory.container(request.container_id).cell).attach(request)

    def port_forward(self, sandbox_id: str, port: int) -> AbstractAsyncContextManager[Tunnel]:
        """Dial a port of the pod."""
        return self._of_cell(self._memory.sandbox(sandbox_id).cell).port_forward(sandbox_id, port)

    def _of_cell(self, cell: CellName) -> RemoteBackend:
        def channel() -> Channel:
            return self._cells.channel(cell)

        return RemoteBackend(channel)


@dataclass(frozen=True, slots=True)
class PodLookups:
    """Lookups of a kubelet's pods beside CRI: by an API server, where there is one.

    `demand` of what a pod asks for, `images` the images that its kubelet will ask for, `spec` what one specifies;
    `never` the uids of pods that may not pull an image.
    """

    demand: Callable[[cri.PodSandboxConfig], Demand]
    images: Callable[[cri.PodSandboxConfig], tuple[str, ...]] = lambda _: ()
    spec: Callable[[str], PodSpec | None] = lambda _: None
    never: Callable[[str], tuple[str, ...]] = lambda _: ()


@asynccontextmanager
async def running(
    settings: ShimSettings,
    cells: Cells,
    store: Store,
    told: PodLookups,
    ways: Ways,
    access: RegistryAccess = NOBODY,
) -> AsyncGenerator[None]:
    """Serve CRI on the socket for as long as the context lives. `access` is how registries are asked."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    with closing(Inotify()) as inotify:
        async with (
            sandboxes_room(cells, store, ways, CLAIMED_BY, access, patience=PATIENCE) as room,
            streaming_server(
                CountedBackend(CellBackend(cells, room.memory), ways.sessions), settings.streaming_host
            ) as streaming,
            asyncio.TaskGroup() as tasks,
        ):
            stats, stock, abilities = (
                Stats(cells, room.memory, str(settings.folder)),
                Stock(cells, access.login),
                Abilities(cells),
            )
            volume_sync = VolumeSync(cells, room.memory, inotify, settings.pods_folder)
            limits = VolumeLimits(cells, room.memory, stats, settings.pods_folder, told.spec)
            room.following.take_up(
                (("stats", stats.keep), ("volumes", volume_sync.keep), ("limits of volumes", limits.keep))
            )
            waiting = PullBackoff(settings.image_patience)
            sandboxes = SandboxCalls(cells, room, told.demand, told.images, waiting)
            images = Images(room, stock, str(settings.folder), waiting, told.never)
            creating = Creating(room, images, volume_sync, settings.pods_folder)
            runtime = ShimRuntimeService(room, stats, sandboxes, creating, streaming, abilities)
            beside = (
                tasks.create_task(abilities.find_out(), name="what cells can do"),
                tasks.create_task(_release_abandoned(sandboxes, stock), name="abandoned claims"),
            )
            try:
                async with (
                    front.before(
                        [runtime, ShimImageService(images)], settings.worker, settings.rules, room.memory.knows_any
                    ) as services,
                    serving(services, settings.socket),
                ):
                    yield
            finally:
                for task in beside:
                    task.cancel()


async def _release_abandoned(sandboxes: SandboxCalls, stock: Stock) -> None:
    while True:
        await asyncio.sleep(ABANDONED_EVERY)
        try:
            await sandboxes.release_abandoned()
            await stock.release_idle()
        except Fault as fault:
            # The store may be away for a moment; the pods that run have no part in it.
            log.warning("cells that nobody asks for are given back later", cause=str(fault))
