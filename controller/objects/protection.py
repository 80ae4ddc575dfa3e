"""Finalizers that keep a claim while a pod has it, and a volume while a claim has it. Pure.

As Kubernetes does: who deletes one sees it as Terminating until its last user has gone, and no pod gets it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from controller.objects.fields import Json

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
_CLAIMS, _VOLUMES = "persistentvolumeclaims", "persistentvolumes"


class Protection(msgspec.Struct, frozen=True):
    """A claim (or, without a namespace, a volume) that gets its finalizer, or that nobody uses any more."""

    key: str
    namespace: str
    name: str
    uid: str
    finalizer: str
    kept: bool = False

    def applied(self, one: Json) -> Json:
        """The object with or without its finalizer; another one of the same name is left as it is."""
        metadata: Json = one["metadata"]
        if metadata["uid"] != self.uid:
            return one
        if self.kept:
            return protected(one, self.finalizer)
        left = [name for name in metadata.get("finalizers") or () if name != self.finalizer]
        return {**one, "metadata": {**metadata, "finalizers": left}}


def protected(one: Json, finalizer: str) -> Json:
    """The object with a finalizer, unless it is being deleted."""
    metadata: Json = one["metadata"]
    given: list[str] = metadata.get("finalizers") or []
    if metadata.get("deletionTimestamp") or finalizer in given:
        return one
    return {**one, "metadata": {**metadata, "finalizers": [*given, finalizer]}}


def plan(claims: Sequence[Json], volumes: Sequence[Json], pods: Sequence[Json]) -> Iterator[Protection]:
    """What has no finalizer yet, and what is kept by its finalizer alone."""
    for key, finalizer, objects in ((_CLAIMS, CLAIM_PROTECTION, claims), (_VOLUMES, VOLUME_PROTECTION, volumes)):
        for one in objects:
            if protected(one, finalizer) is not one:
                yield Protection(key, *_place(one), one["metadata"]["uid"], finalizer, kept=True)
    ending = [one for one in claims if _kept(one, CLAIM_PROTECTION)]
    used = set(_used(pods)) if ending else set[tuple[str, str]]()
    for one in ending:
        if _place(one) not in used:
            yield Protection(_CLAIMS, *_place(one), one["metadata"]["uid"], CLAIM_PROTECTION)
    for one in volumes:
        if _kept(one, VOLUME_PROTECTION) and (one.get("status") or {}).get("phase") != "Bound":
            yield Protection(_VOLUMES, *_place(one), one["metadata"]["uid"], VOLUME_PROTECTION)


def _kept(one: Json, finalizer: str) -> bool:
    metadata: Json = one["metadata"]
    return bool(metadata.get("deletionTimestamp")) and finalizer in (metadata.get("finalizers") or ())


def _place(one: Json) -> tuple[str, str]:
    return one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _used(pods: Sequence[Json]) -> Iterator[tuple[str, str]]:
    """The claims of pods that have a cell, by namespace and name: one that has none yet gets no claim that ends."""
    for pod in pods:
        for volume in pod["spec"].get("volumes") or () if pod["spec"].get("nodeName") else ():
            if source := volume.get("persistentVolumeClaim"):
                yield pod["metadata"]["namespace"], source["claimName"]
