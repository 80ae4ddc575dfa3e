"""What happened to pods, as Kubernetes events that `kubectl describe` shows. Kept in memory for an hour.

The same thing said again raises the count of its event, so that a crash loop is one line.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from controller.pods.fields import Json
from controller.pods.objects import Objects
from controller.pods.status import timestamp

KEPT_SECONDS = 3600.0
LONGEST_MESSAGE = 1024


class Recorder:
    """Writes events into `objects`."""

    def __init__(self, objects: Objects, now: Callable[[], float]) -> None:
        self._objects = objects
        self._now = now
        self._known: dict[tuple[str, ...], tuple[str, str, float]] = {}

    def normal(self, pod: Json, reason: str, message: str, container: str = "") -> None:
        """Something that was to be expected."""
        self._say(pod, "Normal", reason, message, container)

    def warning(self, pod: Json, reason: str, message: str, container: str = "") -> None:
        """Something that somebody ought to look at."""
        self._say(pod, "Warning", reason, message, container)

    def _say(self, pod: Json, kind: str, reason: str, message: str, container: str) -> None:
        now = self._now()
        self._forget(now)
        metadata: Json = pod["metadata"]
        message = message[:LONGEST_MESSAGE]
        key = (metadata["uid"], kind, reason, message, container)
        namespace, name, _ = self._known.get(key) or (
            metadata["namespace"],
            f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
            0.0,
        )
        self._known[key] = (namespace, name, now)
        before = self._objects.get(namespace, name)
        if before is None:
            event = _event(pod, name, (kind, reason, message), container, now)
        else:
            event = {**before, "count": before["count"] + 1, "lastTimestamp": timestamp(now)}
        self._objects.put(event)

    def _forget(self, now: float) -> None:
        for key, (namespace, name, at) in list(self._known.items()):
            if at > now - KEPT_SECONDS:
                break
            self._objects.drop(namespace, name)
            del self._known[key]


def _event(pod: Json, name: str, said: tuple[str, str, str], container: str, now: float) -> Json:
    metadata: Json = pod["metadata"]
    kind, reason, message = said
    about: Json = {
        "kind": "Pod",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "apiVersion": "v1",
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    if container:
        inits = {one["name"] for one in pod["spec"].get("initContainers") or ()}
        about["fieldPath"] = f"spec.{'initContainers' if container in inits else 'containers'}{{{container}}}"
    at = timestamp(now)
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": at,
        },
        "involvedObject": about,
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": "chinampa", **_host(pod)},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "eventTime": None,
        "reportingComponent": "chinampa",
        "reportingInstance": pod["spec"].get("nodeName", ""),
    }


def _host(pod: Json) -> Json:
    cell = pod["spec"].get("nodeName")
    return {"host": cell} if cell else {}
