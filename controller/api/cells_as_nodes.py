"""Cells shown as nodes, read-only: where a pod is, for `kubectl get nodes` and the NODE column. Pure."""

from __future__ import annotations

import builtins

from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.model.cell import Cell, CellState
from controller.objects.collection import ObjectChange, Objects, RevisionCounter
from controller.objects.fields import Json
from controller.objects.stored import Change as Altering
from controller.objects.stored import Ending
from controller.objects.timestamps import timestamp


def node_of(cell: Cell) -> Json:
    """One cell as a Node."""
    ready = cell.connected and cell.state in (CellState.READY, CellState.CLAIMED)
    labels = {
        "kubernetes.io/hostname": str(cell.name),
        "kubernetes.io/os": "linux",
        "chinampa.dev/state": cell.state.value,
    }
    capacity: Json = {"pods": "1"}
    if cell.offer is not None:
        shape = cell.offer.shape
        labels["node.kubernetes.io/instance-type"] = shape.type
        labels["topology.kubernetes.io/zone"] = cell.offer.zone
        capacity |= {"cpu": f"{shape.cpu_millis}m", "memory": f"{shape.memory_mib}Mi"}
    condition: Json = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "CellConnected" if ready else f"Cell{cell.state.value.capitalize()}",
        "message": cell.reason or f"the cell is {cell.state.value}",
        "lastTransitionTime": timestamp(cell.changed_at),
    }
    announced = cell.announced
    interrupted: list[Json] = []
    if announced is not None:
        interrupted.append(
            {
                "type": "InstanceEnds" if announced.ends else "RebalanceRecommended",
                "status": "True",
                "reason": announced.kind.capitalize(),
                "message": announced.message,
                "lastTransitionTime": timestamp(announced.heard_at),
            }
        )
    if cell.last_heartbeat:
        condition["lastHeartbeatTime"] = timestamp(cell.last_heartbeat)
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": str(cell.name),
            "uid": str(cell.name),
            "labels": labels,
            "creationTimestamp": timestamp(cell.created_at),
        },
        "spec": {"providerID": f"chinampa:///{cell.instance or ''}"},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [condition, *interrupted],
            "addresses": [{"type": "InternalIP", "address": cell.address}] if cell.address else [],
            "nodeInfo": {
                # Clients with types of their own insist on all of these.
                **dict.fromkeys(("bootID", "machineID", "systemUUID"), str(cell.instance or cell.name)),
                "kubeProxyVersion": "",
                "kubeletVersion": "chinampa",
                "osImage": "cell",
                "kernelVersion": "",
                "containerRuntimeVersion": "chinampa://1",
                "operatingSystem": "linux",
                "architecture": cell.offer.shape.architecture if cell.offer else "",
            },
        },
    }


class Nodes(Objects):
    """Cells as nodes, looked at whenever they are asked for. Nobody writes them."""

    def __init__(self, cells: Cells, revisions: RevisionCounter) -> None:
        super().__init__(revisions)
        self._cells = cells

    @property
    def objects(self) -> Objects:
        """The nodes as they are shown."""
        return self

    def get(self, namespace: str, name: str) -> Json | None:
        self._look()
        return super().get(namespace, name)

    def list(self, namespace: str = "") -> builtins.list[Json]:
        self._look()
        return super().list(namespace)

    def changes(self, since: int) -> builtins.list[ObjectChange]:
        self._look()
        return super().changes(since)

    def _look(self) -> None:
        found = {str(cell.name): node_of(cell) for cell in self._cells.list()}
        for held in super().list():
            if held["metadata"]["name"] not in found:
                self.drop("", held["metadata"]["name"])
        for name, node in found.items():
            held = super().get("", name)
            version = {"resourceVersion": held["metadata"]["resourceVersion"]} if held else {}
            if held is None or held != {**node, "metadata": {**node["metadata"], **version}}:
                self.put(node)

    async def create(self, new: Json) -> Json:
        """Nodes are not made by writing them."""
        raise unwritten(new["metadata"]["name"])

    async def change(self, namespace: str, name: str, change: Altering) -> Json:
        """Nodes are not changed by writing them."""
        raise unwritten(name)

    async def end(self, namespace: str, name: str, ending: Ending) -> Json:
        """A node goes with its pod."""
        raise unwritten(name)


def unwritten(name: str) -> Fault:
    """What whoever writes a node is told."""
    cause = "cannot be written: a cell lives and ends with its pod"
    return Fault(Kind.UNSUPPORTED, f'nodes "{name}"', cause, "delete the pod")
