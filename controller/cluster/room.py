"""The room: everything that is heard of the cluster's API server, and told to it, with the rights of one node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from cellwire.faults import Fault, Kind
from controller.cluster import client, kubeconfig, pod_events
from controller.cluster.kubeconfig import Json
from controller.cluster.list_watch import Follower, follow
from controller.cluster.node_pods import NodePods
from controller.cluster.pod_events import Events
from controller.cluster.settings import Kubernetes
from controller.fleet.cells import Cells
from controller.services import model
from controller.services.book import Book

log = structlog.get_logger()


class Neighbour:
    """The cluster: its pods on this node, and where events go."""

    def __init__(self, node: str, pods: NodePods, said: Events) -> None:
        self.node = node
        self.pods = pods
        self.events = said


def node_name(settings: Kubernetes) -> str:
    """The node's name. Raises Fault INVALID where nothing names it."""
    path = _path(settings)
    if name := settings.node or kubeconfig.node_of(kubeconfig.read(path)):
        return name
    raise Fault(Kind.INVALID, f"kubeconfig {path}", "its certificate names no node", "set kubernetes.node")


@asynccontextmanager
async def running(
    settings: Kubernetes, node: str, cells: Cells, book: Book, listed: Callable[[], None], claimed_by: str
) -> AsyncGenerator[Neighbour]:
    """The room. `book` is kept as the cluster says, and `listed` called when it is so for the first time."""
    access = kubeconfig.read(_path(settings))
    async with client.connected(access) as door, asyncio.TaskGroup() as tasks:
        pods, said = NodePods(), Events(door, node)
        followers = [*_services(book, listed), _pods(pods, node), _node(book, node)]
        work = [tasks.create_task(follow(door, one), name=f"follow {one.path}") for one in followers]
        work.append(tasks.create_task(said.work(), name="events to the API server"))
        work.append(tasks.create_task(pod_events.tell(cells, said, claimed_by), name="cells as events"))
        work.append(tasks.create_task(pod_events.tell_progress(cells, said, claimed_by), name="pulls as events"))
        log.info("in a cluster", server=access.server, node=node)
        try:
            yield Neighbour(node, pods, said)
        finally:
            for task in work:
                task.cancel()


def _pods(pods: NodePods, node: str) -> Follower:
    return Follower(
        path="/api/v1/pods",
        parameters={"fieldSelector": f"spec.nodeName={node}"},
        listed=pods.listed,
        changed=pods.changed,
        gone=pods.gone,
    )


def _node(book: Book, node: str) -> Follower:
    def told(found: Json) -> None:
        book.put_node(model.addresses_of_node(found))

    return Follower(
        path="/api/v1/nodes",
        parameters={"fieldSelector": f"metadata.name={node}"},
        listed=lambda found: told(found[0]) if found else None,
        changed=told,
        # Its pods go on, and dial it where it was.
        gone=lambda _: None,
    )


def _services(book: Book, listed: Callable[[], None]) -> list[Follower]:
    missing = {"services", "slices"}

    def there(what: str) -> None:
        missing.discard(what)
        if not missing:
            listed()

    def services(found: list[Json]) -> None:
        book.replace(services=map(model.service_of, found))
        there("services")

    def slices(found: list[Json]) -> None:
        book.replace(slices=map(model.slice_of, found))
        there("slices")

    return [
        Follower(
            path="/api/v1/services",
            parameters={},
            listed=lambda found: services(list(found)),
            changed=lambda one: book.put_service(model.service_of(one)),
            gone=lambda one: book.drop_service(model.key_of(one)),
        ),
        Follower(
            path="/apis/discovery.k8s.io/v1/endpointslices",
            parameters={"labelSelector": model.SERVICE_LABEL},
            listed=lambda found: slices(list(found)),
            changed=lambda one: book.put_slice(model.slice_of(one)),
            gone=lambda one: book.drop_slice(model.key_of(one)),
        ),
    ]


def _path(settings: Kubernetes) -> Path:
    if settings.kubeconfig is None:
        raise Fault(Kind.INVALID, "kubernetes.kubeconfig", "it is not set")
    return settings.kubeconfig
