"""Knows a kubelet's pod again by what is on its cell, after the records of it were lost.

The cell tells the sandbox's configuration as the kubelet gave it, and its containers with the cell's paths, from which
the kubelet's own follow. Which images the pod was allowed to pull is known for those that it uses.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec
from google.protobuf.message import DecodeError
from grpclib.client import Channel

from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from controller.model.cell import Cell
from controller.model.offer import Demand
from controller.model.pod import PodClaim
from controller.shim import mounts
from controller.shim.records import CONTAINER, SANDBOX, ContainerRecord, SandboxRecord
from controller.shim.sandboxes import claim_of, pod_of
from controller.store.protocol import Store

DEADLINE = 20.0


class SandboxOwner:
    """See `controller.fleet.adoption.Owner`, for sandboxes of a kubelet."""

    def __init__(self, store: Store, demand_of: Callable[[cri.PodSandboxConfig], Demand], pods_folder: str) -> None:
        self._store = store
        self._demand_of = demand_of
        self._pods_folder = pods_folder

    async def recognise(self, channel: Channel) -> PodClaim | None:
        """The pod of the sandbox that is ready on the cell. Raises Fault."""
        found = await _found(channel)
        return claim_of(found[1], self._demand_of(found[1])) if found is not None else None

    async def take(self, cell: Cell, channel: Channel) -> None:
        """Write the sandbox and its containers down, under the ids by which the kubelet knows them. Raises Fault."""
        found = await _found(channel)
        if found is None:
            raise Fault(Kind.UNAVAILABLE, f"cell {cell.name}", "its pod has ended meanwhile", "it is asked again")
        status, config = found
        pod = pod_of(config)
        pulled: dict[str, str] = {}
        stub = runtime_grpc.RuntimeServiceStub(channel)
        wanted = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=status.id))
        for one in (await call(stub.ListContainers, wanted, deadline=DEADLINE)).containers:
            asked = cri.ContainerStatusRequest(container_id=one.id)
            told = (await call(stub.ContainerStatus, asked, deadline=DEADLINE)).status
            pulled[told.image.user_specified_image or told.image.image] = told.image_id
            record = _container(told, status.id, cell, self._pods_folder, str(pod.uid))
            await self._store.put(CONTAINER, record.id, msgspec.msgpack.encode(record))
        record = SandboxRecord(
            id=status.id,
            cell=cell.name,
            uid=str(pod.uid),
            attempt=pod.attempt,
            config=config.SerializeToString(),
            status=status.SerializeToString(),
            pulled=pulled,
        )
        await self._store.put(SANDBOX, record.id, msgspec.msgpack.encode(record))


async def _found(channel: Channel) -> tuple[cri.PodSandboxStatus, cri.PodSandboxConfig] | None:
    stub = runtime_grpc.RuntimeServiceStub(channel)
    ready = cri.PodSandboxFilter(state=cri.PodSandboxStateValue(state=cri.SANDBOX_READY))
    for one in (await call(stub.ListPodSandbox, cri.ListPodSandboxRequest(filter=ready), deadline=DEADLINE)).items:
        asked = cri.PodSandboxStatusRequest(pod_sandbox_id=one.id, verbose=True)
        told = await call(stub.PodSandboxStatus, asked, deadline=DEADLINE)
        config = understood(told.info.get("config", ""))
        if config is not None:
            return told.status, config
    return None


def understood(text: str) -> cri.PodSandboxConfig | None:
    """The configuration that a cell tells; None where it is none, or names no pod. Pure."""
    try:
        config = cri.PodSandboxConfig.FromString(base64.b64decode(text, validate=True))
    except (ValueError, DecodeError):
        return None
    return config if config.metadata.uid else None


def _container(told: cri.ContainerStatus, sandbox: str, cell: Cell, pods_folder: str, uid: str) -> ContainerRecord:
    copies: dict[str, str] = {}
    for mount in told.mounts:
        if not (on_cell := mount.host_path):
            continue
        mount.host_path = mounts.asked_for(on_cell, pods_folder=pods_folder, uid=uid)
        if mounts.comes_back(pods_folder, mount.host_path):
            copies[on_cell] = mount.host_path
    return ContainerRecord(
        id=told.id,
        sandbox=sandbox,
        cell=cell.name,
        status=told.SerializeToString(),
        # The sandbox's folder and the container's path are the kubelet's on the cell too.
        log_path=told.log_path,
        copies=copies,
    )
