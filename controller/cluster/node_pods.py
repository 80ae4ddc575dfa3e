"""The pods of this node as their API server tells them: what they ask for, which CRI does not tell a runtime.

A pod's specification is decoded once, where the API server tells of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.cluster.kubeconfig import Json
from controller.model.offer import Demand
from controller.objects.pod_demand import spec_of
from controller.objects.schema.containers import Container
from controller.objects.schema.pods import PodSpec

log = structlog.get_logger()
# A kubelet may have heard of a pod a moment before we do. After this it is sized by what CRI tells.
PATIENCE = 10.0
MIRROR = "kubernetes.io/config.mirror"
MOST_AWAITED = 10_000


class NodePods:
    """Specifications of pods by uid; of a static pod by the uid that its kubelet gave it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._specs: dict[str, PodSpec] = {}
        self._awaited: dict[str, float] = {}
        self._now = now

    def listed(self, found: Sequence[Json]) -> None:
        """The pods of this node are these."""
        self._specs = {}
        for one in found:
            self._take(one)

    def changed(self, one: Json) -> None:
        """One is so from now on."""
        self._take(one)
        self._awaited.pop(_uid(one), None)

    def gone(self, one: Json) -> None:
        """One is no more."""
        self._specs.pop(_uid(one), None)

    def _take(self, one: Json) -> None:
        uid = _uid(one)
        try:
            self._specs[uid] = spec_of(one.get("spec") or {})
        except Fault as fault:
            self._specs.pop(uid, None)
            log.warning("a pod of the API server cannot be read: CRI tells its size", uid=uid, cause=str(fault))

    def find(self, uid: str) -> PodSpec | None:
        """A pod's specification, if it is known."""
        return self._specs.get(uid)

    def never(self, image: str) -> tuple[str, ...]:
        """Uids of the pods with a container of an image that they may not pull."""
        known = self._specs.items()
        return tuple(uid for uid, spec in known if any(_as_it_is(one, image) for one in _containers(spec)))

    def images(self, config: cri.PodSandboxConfig) -> tuple[str, ...]:
        """Images that a pod will have pulled with nobody's credentials; none where it has secrets to pull with."""
        spec = self._specs.get(config.metadata.uid)
        if spec is None or spec.imagePullSecrets:
            return ()
        wanted = (one.image for one in _containers(spec) if one.imagePullPolicy != "Never")
        return tuple(dict.fromkeys(image for image in wanted if image))

    def demand(
        self,
        config: cri.PodSandboxConfig,
        of_pod: Callable[[PodSpec], Demand],
        of_sandbox: Callable[[cri.PodSandboxConfig], Demand],
    ) -> Demand:
        """What a pod asks for: by its object; by CRI where the API server has not told of it in time.

        Raises Fault UNAVAILABLE while it may yet tell: a kubelet asks again.
        """
        uid = config.metadata.uid
        spec = self._specs.get(uid)
        if spec is not None:
            return larger(of_pod(spec), of_sandbox(config))
        if len(self._awaited) >= MOST_AWAITED:
            self._awaited.clear()
        since = self._awaited.setdefault(uid, self._now())
        if self._now() - since < PATIENCE:
            thing = f"pod {config.metadata.namespace}/{config.metadata.name}"
            raise Fault(Kind.UNAVAILABLE, thing, "the API server has not told of it yet", "the kubelet asks again")
        return of_sandbox(config)


def larger(asked: Demand, told: Demand) -> Demand:
    """What a pod asks for, and not less than what CRI tells of its limits and annotations. Pure."""
    return msgspec.structs.replace(
        asked,
        cpu_millis=max(asked.cpu_millis, told.cpu_millis),
        memory_mib=max(asked.memory_mib, told.memory_mib),
        gpus=max(asked.gpus, told.gpus),
        disk_gb=max(asked.disk_gb, told.disk_gb),
    )


def _containers(spec: PodSpec) -> tuple[Container, ...]:
    return (*spec.initContainers, *spec.containers)


def _as_it_is(container: Container, image: str) -> bool:
    return container.imagePullPolicy == "Never" and container.image in {image, image.removesuffix(":latest")}


def _uid(one: Json) -> str:
    metadata: Json = one.get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(MIRROR) or metadata.get("uid") or "")
