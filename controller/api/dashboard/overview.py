"""The dashboard's data, as one document: cells, pods and why they wait, costs, the pool, faults of late. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from controller.api.dashboard.history import SampleHistory, namespace_of
from controller.fleet.pool.keeper import Figures
from controller.model import cost
from controller.model.cell import Cell
from controller.objects.fields import Json
from controller.objects.timestamps import seconds_of

# So many of each are shown; how many there are is said.
MOST_CELLS, MOST_PODS, MOST_FAULTS = 300, 500, 40


class DashboardInput(msgspec.Struct, frozen=True):
    """Inputs of the dashboard."""

    cells: Sequence[Cell]
    pods: Sequence[Json]
    events: Sequence[Json]
    pool: Sequence[Figures]
    history: SampleHistory


def overview(seen: DashboardInput, namespace: str, now: float) -> Json:
    """The document for somebody who may see one namespace, or ("") all."""
    cells = [cell for cell in seen.cells if not namespace or namespace_of(cell) == namespace]
    pods = [pod for pod in seen.pods if not namespace or pod["metadata"]["namespace"] == namespace]
    events = [one for one in seen.events if not namespace or one["metadata"]["namespace"] == namespace]
    last = _last(events)
    return {
        "now": now,
        "namespace": namespace,
        "history": seen.history.seen(namespace),
        "cells": [_cell(cell, now) for cell in _newest(cells)[:MOST_CELLS]],
        "cells_in_all": len(cells),
        "pods": [_pod(pod, last) for pod in _first(pods)[:MOST_PODS]],
        "pods_in_all": len(pods),
        "usd_per_hour": _spend(cells),
        "usd_so_far": round(sum(cost.usd_so_far(cell, now) for cell in cells), 6),
        "pool": [] if namespace else [_class(one) for one in seen.pool],
        "faults": _faults(events),
    }


def _newest(cells: Iterable[Cell]) -> list[Cell]:
    return sorted(cells, key=lambda cell: -cell.created_at)


def _first(pods: Iterable[Json]) -> list[Json]:
    """The order of pods: who waits comes first."""
    return sorted(
        pods, key=lambda pod: (_phase(pod) != "Pending", pod["metadata"]["namespace"], pod["metadata"]["name"])
    )


def _phase(pod: Json) -> str:
    return (pod.get("status") or {}).get("phase", "Pending")


def _cell(cell: Cell, now: float) -> Json:
    claim, offer = cell.claim, cell.offer
    return {
        "name": str(cell.name),
        "state": cell.state.value,
        "connected": cell.connected,
        "pod": f"{claim.pod.namespace}/{claim.pod.name}" if claim else "",
        "type": offer.shape.type if offer else "",
        "launch": offer.launch_type.value if offer else "",
        "zone": offer.zone if offer else "",
        "usd_per_hour": cost.usd_per_hour(cell),
        "age": round(now - cell.created_at),
        "why": cell.reason,
    }


def _last(events: Iterable[Json]) -> dict[str, Json]:
    """The last event about each object, by its uid. Events are anybody's: any field may be missing."""
    found: dict[str, Json] = {}
    for one in events:
        uid = (one.get("involvedObject") or {}).get("uid", "")
        if uid not in found or _at(one) > _at(found[uid]):
            found[uid] = one
    return found


def _pod(pod: Json, last: Mapping[str, Json]) -> Json:
    metadata, status = pod["metadata"], pod.get("status") or {}
    statuses: list[Json] = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    phase = "Terminating" if metadata.get("deletionTimestamp") else _phase(pod)
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "phase": phase,
        "ready": sum(bool(one.get("ready")) for one in status.get("containerStatuses") or ()),
        "containers": [one["name"] for one in pod["spec"]["containers"]],
        "inits": [one["name"] for one in pod["spec"].get("initContainers") or ()],
        "restarts": sum(one.get("restartCount", 0) for one in statuses),
        "cell": pod["spec"].get("nodeName", ""),
        "since": seconds_of(metadata.get("creationTimestamp")) or 0,
        "why": _why(pod, statuses, last) if phase == "Pending" else status.get("message", ""),
    }


def _why(pod: Json, statuses: Sequence[Json], last: Mapping[str, Json]) -> str:
    """Why a pod does not run yet: what its status says, else its last event."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True" and condition.get("message"):
            return str(condition["message"])
    for one in statuses:
        waiting: Json = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("message"):
            return f"{one['name']}: {waiting['message']}"
    return str(last.get(pod["metadata"]["uid"], {}).get("message", ""))


def _spend(cells: Iterable[Cell]) -> Json:
    found: defaultdict[str, float] = defaultdict(float)
    for cell in cells:
        if cell.instance is not None:
            found[namespace_of(cell)] += cost.usd_per_hour(cell)
    return dict(sorted(found.items(), key=lambda row: -row[1]))


def _class(one: Figures) -> Json:
    asked = one.hits + one.waited + one.misses
    told = {name: getattr(one, name) for name in ("wanted", "warm", "ready", "hits", "waited", "misses", "failed")}
    return {"class": one.of, **told, "usd_per_hour": one.usd_per_hour, "share": one.hits / asked if asked else None}


def _faults(events: Iterable[Json]) -> list[Json]:
    warned = sorted((one for one in events if one.get("type") == "Warning"), key=_at, reverse=True)
    return [
        {
            "at": _at(one),
            "about": _about(one.get("involvedObject") or {}, one["metadata"]["namespace"]),
            "reason": one.get("reason", ""),
            "message": one.get("message", ""),
            "count": one.get("count") or 1,
        }
        for one in warned[:MOST_FAULTS]
    ]


def _about(involved: Json, namespace: str) -> str:
    return f"{involved.get('kind', '')} {namespace}/{involved.get('name', '')}"


def _at(event: Json) -> float:
    return seconds_of(event.get("lastTimestamp")) or seconds_of(event.get("eventTime")) or 0.0
