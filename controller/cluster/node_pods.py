"""The pods of this node as their API server tells them: what they ask for, which CRI does not tell a runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.cluster.kubeconfig import Json
from controller.model.offer import Demand

# A kubelet may have heard of a pod a moment before we do. After this it is sized by what CRI tells.
PATIENCE = 10.0
MIRROR = "kubernetes.io/config.mirror"
MOST_AWAITED = 10_000


class NodePods:
    """Pods by uid; a static pod by the uid that its kubelet gave it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._pods: dict[str, Json] = {}
        self._awaited: dict[str, float] = {}
        self._now = now

    def listed(self, found: Sequence[Json]) -> None:
        """These are all."""
        self._pods = {_uid(one): one for one in found}

    def changed(self, one: Json) -> None:
        """One is so from now on."""
        self._pods[_uid(one)] = one
        self._awaited.pop(_uid(one), None)

    def gone(self, one: Json) -> None:
        """One is no more."""
        self._pods.pop(_uid(one), None)

    def find(self, uid: str) -> Json | None:
        """A pod, if it is known."""
        return self._pods.get(uid)

    def never(self, image: str) -> tuple[str, ...]:
        """Uids of the pods with a container of an image that they may not pull."""
        return tuple(uid for uid, pod in self._pods.items() if any(_as_it_is(one, image) for one in _containers(pod)))

    def images(self, config: cri.PodSandboxConfig) -> tuple[str, ...]:
        """Images that a pod will have pulled with nobody's credentials; none where it has secrets to pull with."""
        pod = self._pods.get(config.metadata.uid)
        spec: Json = pod["spec"] if pod is not None else {}
        if spec.get("imagePullSecrets"):
            return ()
        every = _containers(pod) if pod is not None else ()
        wanted = (one.get("image") for one in every if one.get("imagePullPolicy") != "Never")
        return tuple(dict.fromkeys(image for image in wanted if image))

    def demand(
        self,
        config: cri.PodSandboxConfig,
        of_pod: Callable[[Json], Demand],
        of_sandbox: Callable[[cri.PodSandboxConfig], Demand],
    ) -> Demand:
        """What a pod asks for: by its object; by CRI where the API server has not told of it in time.

        Raises Fault UNAVAILABLE while it may yet tell: a kubelet asks again.
        """
        uid = config.metadata.uid
        pod = self._pods.get(uid)
        if pod is not None:
            return larger(of_pod(pod["spec"]), of_sandbox(config))
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


def _containers(pod: Json) -> tuple[Json, ...]:
    spec: Json = pod.get("spec") or {}
    return (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))


def _as_it_is(container: Json, image: str) -> bool:
    return container.get("imagePullPolicy") == "Never" and container.get("image") in {
        image,
        image.removesuffix(":latest"),
    }


def _uid(one: Json) -> str:
    metadata: Json = one.get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(MIRROR) or metadata.get("uid") or "")
