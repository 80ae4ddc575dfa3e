"""Services and pods by namespace, and slices by Service: what endpoints are made from. No I/O.

Kept up with changes, so that one change costs what it concerns and not what there is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from controller.objects.collection import ObjectChange
from controller.objects.fields import Json
from controller.services import endpoints, model
from controller.services.model import Key


class EndpointSources:
    """Services, pods and such slices as are ours."""

    def __init__(self, services: Iterable[Json], pods: Iterable[Json], slices: Iterable[Json]) -> None:
        self._services: dict[str, dict[str, Json]] = {}
        self._pods: dict[str, dict[str, Json]] = {}
        self._slices: dict[Key, dict[str, Json]] = {}
        for one in services:
            self._put(self._services, one)
        for one in pods:
            self._put(self._pods, one)
        for one in slices:
            self._slice(one)

    def service(self, key: Key) -> Json | None:
        """A Service."""
        return self._services.get(key[0], {}).get(key[1])

    def pods(self, namespace: str) -> Collection[Json]:
        """The pods of a namespace."""
        return self._pods.get(namespace, {}).values()

    def slices(self, key: Key) -> list[Json]:
        """The slices of a Service that are ours."""
        return list(self._slices.get(key, {}).values())

    def services_changed(self, changes: Iterable[ObjectChange]) -> None:
        """Services are so from now on."""
        for change in changes:
            self._put(self._services, change.object, gone=change.type == "DELETED")

    def slices_changed(self, changes: Iterable[ObjectChange]) -> None:
        """Slices are so from now on."""
        for change in changes:
            if change.before is not None:
                self._slice(change.before, gone=True)
            if change.type != "DELETED":
                self._slice(change.object)

    def pods_changed(self, changes: Iterable[ObjectChange]) -> Iterator[Key]:
        """Pods are so from now on; the Services whose endpoints that may concern."""
        for change in changes:
            pod, before = change.object, change.before
            self._put(self._pods, pod, gone=change.type == "DELETED")
            if change.type == "MODIFIED" and before is not None and endpoints.seen_of(pod) == endpoints.seen_of(before):
                continue
            for service in self._services.get(pod["metadata"]["namespace"], {}).values():
                if endpoints.selects(service, pod) or (before is not None and endpoints.selects(service, before)):
                    yield model.key_of(service)

    @staticmethod
    def _put(where: dict[str, dict[str, Json]], one: Json, *, gone: bool = False) -> None:
        namespace, name = model.key_of(one)
        if gone:
            where.get(namespace, {}).pop(name, None)
        else:
            where.setdefault(namespace, {})[name] = one

    def _slice(self, one: Json, *, gone: bool = False) -> None:
        labels: Json = one["metadata"].get("labels") or {}
        if labels.get(endpoints.MANAGED_BY) not in (endpoints.SELECTED, endpoints.MIRRORED):
            return
        namespace, name = model.key_of(one)
        key = namespace, str(labels.get(model.SERVICE_LABEL) or "")
        if gone:
            there = self._slices.get(key, {})
            there.pop(name, None)
            if not there:
                self._slices.pop(key, None)
        else:
            self._slices.setdefault(key, {})[name] = one
