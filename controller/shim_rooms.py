"""The rooms behind a kubelet's socket: the same in the controller and in a worker's own shim."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import structlog

from controller.choice import demand
from controller.cluster import room as cluster_room
from controller.config import Settings
from controller.fleet.cells import Cells
from controller.objects import pod_demand
from controller.sandboxes.pulling import RegistryAccess
from controller.sandboxes.ways import Ways
from controller.services import room as services_room
from controller.shim import room as shim
from controller.shim import worker_placement
from controller.shim.room import PodLookups
from controller.shim.sandboxes import CLAIMED_BY
from controller.store.record_store import Store

log = structlog.get_logger()


def overhead_of(settings: Settings) -> demand.Overhead:
    """What the agent takes of a cell."""
    return demand.Overhead(cpu_millis=settings.overhead.cpu, memory_mib=settings.overhead.memory)


def sized_by_limits(settings: Settings) -> PodLookups:
    """What a pod asks for where no cluster tells of it."""
    if settings.shim.socket is not None:
        log.warning(
            "kubernetes.kubeconfig is not set: pods are sized by their limits, without the cluster's Services",
            mend="name the node's own kubeconfig",
        )
    return PodLookups(partial(demand.of_sandbox, overhead=overhead_of(settings)))


async def open_cluster(settings: Settings, rooms: AsyncExitStack, cells: Cells) -> PodLookups:
    """The cluster's Services for cells; it tells of its pods, too."""
    node = cluster_room.node_name(settings.kubernetes)
    services = await rooms.enter_async_context(services_room.running(settings.services, cells, node, clustered=True))
    neighbour = await rooms.enter_async_context(
        cluster_room.running(
            settings.kubernetes, node, cells, services.book, services.listed.set, claimed_by=CLAIMED_BY
        )
    )
    overhead = overhead_of(settings)
    of_pod, of_sandbox = (partial(of, overhead=overhead) for of in (pod_demand.of_pod, demand.of_sandbox))
    pods = neighbour.pods
    return PodLookups(partial(pods.demand, of_pod=of_pod, of_sandbox=of_sandbox), pods.images, pods.find, pods.never)


async def open_shim(
    settings: Settings,
    rooms: AsyncExitStack,
    cells: Cells,
    store: Store,
    ways: Ways,
    access: RegistryAccess,
    told: PodLookups,
) -> None:
    """Serve the kubelet's socket, where the settings name one."""
    own = settings.shim
    if own.socket is None:
        return
    shim_settings = shim.ShimSettings(
        socket=own.socket,
        folder=settings.state / "shim",
        pods_folder=own.pods_folder,
        streaming_host=own.streaming_host,
        worker=own.worker,
        rules=worker_placement.rules_of(own),
        image_patience=own.image_patience,
    )
    await rooms.enter_async_context(shim.running(shim_settings, cells, store, told, ways, access))
