"""Cells shown as nodes, read-only: where a pod is, for `kubectl get nodes` and the NODE column. Pure."""

from __future__ import annotations

from controller.model.cell import Cell, CellState
from controller.objects.fields import Json
from controller.pods.status import timestamp


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
                "kubeletVersion": "chinampa",
                "osImage": "cell",
                "kernelVersion": "",
                "containerRuntimeVersion": "chinampa://1",
                "operatingSystem": "linux",
                "architecture": cell.offer.shape.architecture if cell.offer else "",
            },
        },
    }
