"""Knows a pod again by what is on its cell, after the records of it were lost.

The sandbox on the cell bears the pod's manifest as it was when the cell was given to it, in an annotation; its
containers say how often each was started. What only the records knew is lost: events, pods that were over or had no
cell yet, labels that were changed since, and that a pod was being deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from grpclib.client import Channel

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from controller.choice.wishes import PREFIX
from controller.model.cell import Cell
from controller.model.offer import Demand
from controller.model.pod import PodClaim
from controller.objects.fields import Json
from controller.pods import bought, namespaces, records
from controller.pods.claim import claim_of
from controller.pods.run import ContainerRun, PodRun
from controller.store.protocol import Store

MANIFEST = f"{PREFIX}manifest"
DEADLINE = 20.0


def remembering(config: cri.PodSandboxConfig, pod: Json) -> cri.PodSandboxConfig:
    """The sandbox's configuration with the pod in it."""
    config.annotations[MANIFEST] = msgspec.json.encode({"metadata": pod["metadata"], "spec": pod["spec"]}).decode()
    return config


class PodOwner:
    """See `controller.fleet.adoption.Owner`, for declared pods."""

    def __init__(
        self, store: Store, demand_of: Callable[[Mapping[str, Any]], Demand], now: Callable[[], float]
    ) -> None:
        self._store = store
        self._demand_of = demand_of
        self._now = now

    async def recognise(self, channel: Channel) -> PodClaim | None:
        """The pod whose manifest is on the cell. Raises Fault."""
        found = await _found(channel)
        if found is None:
            return None
        sandbox, pod = found
        return claim_of(pod, sandbox.metadata.attempt, self._demand_of(pod["spec"]))

    async def take(self, cell: Cell, channel: Channel) -> None:
        """Write the pod down, and the namespace that it is in. Raises Fault."""
        found = await _found(channel)
        if found is None:
            raise Fault(Kind.UNAVAILABLE, f"cell {cell.name}", "its pod has ended meanwhile", "it is asked again")
        sandbox, pod = found
        wanted = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox.id))
        made = (
            await call(runtime_grpc.RuntimeServiceStub(channel).ListContainers, wanted, deadline=DEADLINE)
        ).containers
        starts: dict[str, int] = {}
        for one in made:
            starts[one.metadata.name] = max(starts.get(one.metadata.name, 0), one.metadata.attempt + 1)
        since = sandbox.created_at / 1e9
        run = PodRun(
            attempt=sandbox.metadata.attempt,
            cell=cell.name,
            cell_address=cell.address,
            shown=bought.shown(cell),
            sandbox=sandbox.id,
            scheduled_at=since,
            started_at=since,
            containers={name: ContainerRun(name=name, starts=count) for name, count in starts.items()},
        )
        await namespaces.ensure(self._store, pod["metadata"]["namespace"], self._now())
        await records.restore(self._store, pod, run, self._now())


async def _found(channel: Channel) -> tuple[cri.PodSandbox, Json] | None:
    """The sandbox of a declared pod that is ready on the cell, and the pod."""
    ready = cri.PodSandboxFilter(state=cri.PodSandboxStateValue(state=cri.SANDBOX_READY))
    wanted = cri.ListPodSandboxRequest(filter=ready)
    reply = await call(runtime_grpc.RuntimeServiceStub(channel).ListPodSandbox, wanted, deadline=DEADLINE)
    for sandbox in reply.items:
        pod = understood(sandbox.annotations.get(MANIFEST, ""))
        if pod is not None:
            return sandbox, pod
    return None


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    uid: str


class _Manifest(msgspec.Struct):
    metadata: _Metadata
    spec: dict[str, Any]


def understood(text: str) -> Json | None:
    """The pod in a manifest; None where it is none: a cell tells it, which is not taken on trust. Pure."""
    try:
        msgspec.json.decode(text, type=_Manifest)
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
