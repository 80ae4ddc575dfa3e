"""metrics.k8s.io, for `kubectl top`: pods as their cells count them just now, nodes as their heartbeats tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api.all_kinds import NODE_METRICS, POD_METRICS
from controller.api.requests import answer, as_table, selected, shown, wants_table
from controller.fleet.cells import Telling
from controller.fleet.reports import Vitals
from controller.objects.fields import Json
from controller.objects.resource import Resource
from controller.objects.timestamps import timestamp
from controller.pods.engine import Pods
from controller.pods.usage import Usage


class Tops:
    """Answers for both kinds."""

    def __init__(self, pods: Pods, cells: Telling, nodes: Callable[[], Sequence[Json]], heartbeat: float) -> None:
        self._pods = pods
        self._cells = cells
        self._nodes = nodes
        self._heartbeat = heartbeat

    async def pods(self, request: web.Request) -> web.StreamResponse:
        """Metrics of the pods that match and run."""
        matches = selected(request, POD_METRICS)
        wanted = [one for one in self._pods.objects.list(request.match_info.get("namespace", "")) if matches(one)]
        return _listed(request, POD_METRICS, [pod_metrics(*found) for found in await self._pods.used(wanted)])

    async def pod(self, request: web.Request) -> web.StreamResponse:
        """One pod that runs."""
        name = request.match_info["name"]
        held = self._pods.objects.get(request.match_info["namespace"], name)
        found = await self._pods.used([held]) if held is not None else []
        if not found:
            raise Fault(Kind.NOT_FOUND, f'{POD_METRICS.key} "{name}"', "not found")
        return shown(request, POD_METRICS, pod_metrics(*found[0]))

    async def nodes(self, request: web.Request) -> web.StreamResponse:
        """Metrics of the cells that match and have told of themselves."""
        matches = selected(request, NODE_METRICS)
        return _listed(request, NODE_METRICS, [one for one in self._of_nodes() if matches(one)])

    async def node(self, request: web.Request) -> web.StreamResponse:
        """One cell."""
        name = request.match_info["name"]
        for one in self._of_nodes():
            if one["metadata"]["name"] == name:
                return shown(request, NODE_METRICS, one)
        raise Fault(Kind.NOT_FOUND, f'{NODE_METRICS.key} "{name}"', "not found")

    def _of_nodes(self) -> list[Json]:
        said = {str(cell.name): self._cells.vitals(cell.name) for cell in self._cells.list()}
        return [
            node_metrics(node, vitals, self._heartbeat)
            for node in self._nodes()
            if (vitals := said.get(node["metadata"]["name"])) is not None and vitals.heard_at
        ]


def pod_metrics(pod: Json, used: Usage) -> Json:
    """What a pod uses, as metrics-server says it."""
    containers = [
        {"name": name, "usage": _amounts(used.cpu_nanocores.get(name, 0), held)}
        for name, held in sorted(used.memory_bytes.items())
    ]
    return {**_about(POD_METRICS, pod, used.at, used.window), "containers": containers}


def node_metrics(node: Json, said: Vitals, window: float) -> Json:
    """What a cell uses: all of its machine, the agent included."""
    return {
        **_about(NODE_METRICS, node, said.heard_at, window),
        "usage": _amounts(said.cpu_millis * 10**6, said.memory_bytes),
    }


def _amounts(nanocores: int, held: int) -> Json:
    return {"cpu": f"{nanocores}n", "memory": f"{held >> 10}Ki"}


def _about(resource: Resource, one: Json, at: float, window: float) -> Json:
    metadata: Json = {"name": one["metadata"]["name"], "creationTimestamp": timestamp(at)}
    for field in ("namespace", "labels"):
        if one["metadata"].get(field):
            metadata[field] = one["metadata"][field]
    told = {"timestamp": timestamp(at), "window": f"{window:.3f}s"}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata, **told}


def _listed(request: web.Request, resource: Resource, found: list[Json]) -> web.Response:
    if wants_table(request):
        return answer(as_table(request, resource, found, ""))
    kind = f"{resource.kind}List"
    return answer({"kind": kind, "apiVersion": resource.api_version, "metadata": {}, "items": found})
