"""Columns of pods, events, namespaces and nodes, and the table of all columns. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controller.api.columns import OBJECTS, PLAIN
from controller.api.columns_kept import KEPT_OBJECTS
from controller.api.printing import NONE, Column, Table, table
from controller.model.cost import dollars
from controller.objects.fields import Json
from controller.objects.timestamps import duration, seconds_of, since


def _pod(pod: Json, now: float) -> list[Any]:
    status: Json = pod.get("status") or {}
    shown, ready, restarts, last = _summary(pod, status)
    gates = pod["spec"].get("readinessGates")
    return [
        pod["metadata"]["name"],
        f"{ready}/{_serving(pod['spec'])}",
        shown,
        f"{restarts} ({duration(now - last)} ago)" if restarts and last else str(restarts),
        since(pod["metadata"].get("creationTimestamp"), now),
        status.get("podIP") or NONE,
        pod["spec"].get("nodeName") or NONE,
        NONE,
        NONE if not gates else str(len(gates)),
    ]


def _serving(spec: Json) -> int:
    sidecars = sum(1 for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always")
    return len(spec["containers"]) + sidecars


def _summary(pod: Json, status: Json) -> tuple[str, int, int, float]:
    """STATUS, ready containers, restarts, and when the last restart was, by kubectl's own rules."""
    shown = status.get("reason") or status.get("phase", "Unknown")
    initializing, ready, restarts, last = _inits(pod["spec"], status)
    if initializing:
        shown = initializing
    else:
        shown, more, count, at = _mains(shown, status)
        ready, restarts, last = ready + more, restarts + count, max(last, at)
    if pod["metadata"].get("deletionTimestamp") and status.get("phase") not in {"Succeeded", "Failed"}:
        shown = "Terminating"
    return shown, ready, restarts, last


def _inits(spec: Json, status: Json) -> tuple[str, int, int, float]:
    sidecars = {one["name"] for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    listed: list[Json] = status.get("initContainerStatuses") or []
    ready, restarts, last = 0, 0, 0.0
    for index, one in enumerate(listed):
        state: Json = one["state"]
        ended: Json | None = state.get("terminated")
        if one["name"] in sidecars and one.get("started"):
            ready += bool(one["ready"])
            restarts, last = restarts + one["restartCount"], max(last, _last_end(one))
            continue
        if ended and ended["exitCode"] == 0:
            continue
        if ended:
            return f"Init:{ended.get('reason') or 'ExitCode:' + str(ended['exitCode'])}", 0, one["restartCount"], last
        waiting = (state.get("waiting") or {}).get("reason", "")
        if waiting and waiting not in {"PodInitializing", "ContainerCreating"}:
            return f"Init:{waiting}", 0, one["restartCount"], _last_end(one)
        return f"Init:{index}/{len(listed)}", 0, one["restartCount"], last
    return "", ready, restarts, last


def _mains(shown: str, status: Json) -> tuple[str, int, int, float]:
    ready, restarts, last, running = 0, 0, 0.0, False
    for one in reversed(status.get("containerStatuses") or []):
        state: Json = one["state"]
        restarts, last = restarts + one["restartCount"], max(last, _last_end(one))
        if (state.get("waiting") or {}).get("reason"):
            shown = state["waiting"]["reason"]
        elif (state.get("terminated") or {}).get("reason"):
            shown = state["terminated"]["reason"]
        elif one["ready"] and "running" in state:
            running, ready = True, ready + 1
    if shown == "Completed" and running:
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
        shown = "Running" if conditions.get("Ready") == "True" else "NotReady"
    return shown, ready, restarts, last


def _last_end(one: Json) -> float:
    return seconds_of(((one.get("lastState") or {}).get("terminated") or {}).get("finishedAt")) or 0.0


def _event(event: Json, now: float) -> list[Any]:
    about: Json = event.get("involvedObject") or {}
    source: Json = event.get("source") or {}
    seen = since(event.get("lastTimestamp"), now)
    count = event.get("count") or 1
    if count > 1:
        seen = f"{seen} (x{count} over {since(event.get('firstTimestamp'), now)})"
    return [
        seen,
        event.get("type", ""),
        event.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        ", ".join(part for part in (source.get("component"), source.get("host")) if part),
        event.get("message", "").strip(),
        since(event.get("firstTimestamp"), now),
        count,
        event["metadata"]["name"],
    ]


def _namespace(namespace: Json, now: float) -> list[Any]:
    metadata = namespace["metadata"]
    return [metadata["name"], namespace["status"]["phase"], since(metadata["creationTimestamp"], now)]


def _node(node: Json, now: float) -> list[Any]:
    info, addresses = node["status"]["nodeInfo"], node["status"]["addresses"]
    ready = node["status"]["conditions"][0]["status"] == "True"
    metadata = node["metadata"]
    return [
        metadata["name"],
        "Ready" if ready else "NotReady",
        "cell",
        since(metadata["creationTimestamp"], now),
        info["kubeletVersion"],
        next((one["address"] for one in addresses if one["type"] == "InternalIP"), NONE),
        NONE,
        info["osImage"],
        info["kernelVersion"],
        info["containerRuntimeVersion"],
    ]


TABLES: dict[str, Table] = {
    **OBJECTS,
    **KEPT_OBJECTS,
    "events": Table(
        (
            Column("Last Seen"),
            Column("Type"),
            Column("Reason"),
            Column("Object"),
            Column("Subobject", wide=True),
            Column("Source", wide=True),
            Column("Message"),
            Column("First Seen", wide=True),
            Column("Count", wide=True, type="integer", format="int32"),
            Column("Name", wide=True),
        ),
        _event,
    ),
    "namespaces": Table((Column("Name"), Column("Status"), Column("Age")), _namespace),
    "nodes": Table(
        (
            Column("Name"),
            Column("Status"),
            Column("Roles"),
            Column("Age"),
            Column("Version"),
            Column("Internal-IP", wide=True),
            Column("External-IP", wide=True),
            Column("OS-Image", wide=True),
            Column("Kernel-Version", wide=True),
            Column("Container-Runtime", wide=True),
        ),
        _node,
    ),
}


_POD_COLUMNS = (
    *(Column(name) for name in ("Name", "Ready", "Status", "Restarts", "Age")),
    *(Column(name, wide=True) for name in ("IP", "Node", "Nominated Node", "Readiness Gates", "USD")),
)


def pods_table(spent: Callable[[str], float]) -> Table:
    """How pods are printed, given what each has cost by its uid."""

    def cells(pod: Json, now: float) -> list[Any]:
        return [*_pod(pod, now), dollars(spent(pod["metadata"].get("uid", "")))]

    return Table(_POD_COLUMNS, cells)


def table_of(key: str) -> Table:
    """How objects of a kind are printed, by its name with its group."""
    return TABLES.get(key, PLAIN)


__all__ = ["TABLES", "pods_table", "table", "table_of"]
