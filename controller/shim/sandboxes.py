"""A kubelet's sandboxes: a cell is claimed for each attempt at a pod, within the time that the kubelet waits."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address

import structlog

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.fleet.cells import Cells
from controller.model import cost
from controller.model.cell import Cell
from controller.model.names import CellName
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.sandboxes.cell_calls import is_over
from controller.sandboxes.records import SandboxRecord
from controller.sandboxes.room import SandboxRoom
from controller.sandboxes.sandbox_lifecycle import claim_of, pod_of
from controller.shim import volume_copy
from controller.shim.abilities import HANDLERS
from controller.shim.patience import PullBackoff
from hostkit.tasks import KeyedLocks

log = structlog.get_logger()
CLAIMED_BY = "shim"
WHY = "the kubelet stopped the pod"
# A kubelet asks again within minutes; a claim that nobody has asked for since is over.
ABANDONED_AFTER = 600.0


class SandboxCalls:
    """RunPodSandbox, StopPodSandbox, RemovePodSandbox."""

    def __init__(
        self,
        cells: Cells,
        room: SandboxRoom,
        demand_of: Callable[[cri.PodSandboxConfig], Demand],
        images_of: Callable[[cri.PodSandboxConfig], tuple[str, ...]],
        patience: PullBackoff,
    ) -> None:
        self._cells = cells
        self._room = room
        self._demand_of = demand_of
        self._images_of = images_of
        self._patience = patience
        self._asked: dict[tuple[str, int], float] = {}
        self._running = KeyedLocks[tuple[str, int]]()

    async def run(self, config: cri.PodSandboxConfig, runtime_handler: str, patience: float) -> str:
        """The sandbox of this attempt at a pod. Idempotent. Raises Fault, TIMEOUT after `patience` seconds."""
        pod = pod_of(config)
        if runtime_handler not in HANDLERS:
            # Before an instance is paid for that would refuse it.
            cause = "there is none of this name"
            raise Fault(Kind.INVALID, f"runtime handler {runtime_handler}", cause, "leave it empty")
        key = (str(pod.uid), pod.attempt)
        if self._room.memory.sandbox_of_pod(*key) is None:
            self._patience.check(str(pod.uid), f"{pod.namespace}/{pod.name}")
        self._asked[key] = time.monotonic()
        try:
            async with asyncio.timeout(patience), self._running[key]:
                known = self._room.memory.sandbox_of_pod(*key)
                if known is not None:
                    return _standing(known)
                claim = claim_of(config, self._demand_of(config), CLAIMED_BY, self._images_of(config))
                return await self._run_on(await self._cells.claim(claim), claim, config, runtime_handler)
        except TimeoutError:
            raise self._still_coming(pod, patience) from None

    async def stop(self, sandbox_id: str) -> None:
        """Stop the sandbox. The unknown is stopped already."""
        await self._room.sandboxes.stop(sandbox_id, WHY)

    async def remove(self, sandbox_id: str) -> None:
        """Stop the sandbox and forget it. The unknown is removed already."""
        record = await self._room.sandboxes.remove(sandbox_id, WHY)
        if record is not None:
            self._asked.pop((record.uid, record.attempt), None)

    def info(self, cell_name: CellName) -> dict[str, str]:
        """What is told of a sandbox's cell where a client asks for more than the status: what it is, what it costs."""
        told = {"cell": str(cell_name)}
        cell = self._cells.get(cell_name)
        if cell is None or cell.offer is None:
            return told
        return told | {
            "instance": str(cell.instance or ""),
            "instanceType": cell.offer.shape.type,
            "launchType": cell.offer.launch_type.value,
            "zone": cell.offer.zone,
            "usdPerHour": f"{cost.usd_per_hour(cell):.6f}",
            "usdSoFar": f"{cost.usd_so_far(cell, time.time()):.6f}",
        }

    def cells_by_state(self) -> dict[str, int]:
        """How many cells there are in each state."""
        return dict(Counter(cell.state.value for cell in self._cells.list()))

    async def release_abandoned(self) -> None:
        """Give back cells whose pods no kubelet has asked for in a long time and that never had a sandbox."""
        now = time.monotonic()
        waiting: set[tuple[str, int]] = set()
        for cell in self._cells.list():
            if cell.claim is None or cell.claim.by != CLAIMED_BY or is_over(cell):
                continue
            key = (str(cell.claim.pod.uid), cell.claim.pod.attempt)
            waiting.add(key)
            asked = self._asked.setdefault(key, now)
            if self._room.memory.sandbox_of_pod(*key) is None and now - asked > ABANDONED_AFTER:
                log.warning("giving back a cell that no kubelet asks for", cell=cell.name)
                await self._cells.release(cell.name, "no kubelet asked for it any more")
                waiting.discard(key)
        old = [key for key, asked in self._asked.items() if now - asked > ABANDONED_AFTER and key not in waiting]
        for key in old:
            del self._asked[key]

    async def _run_on(self, cell: Cell, claim: PodClaim, config: cri.PodSandboxConfig, runtime_handler: str) -> str:
        pod = claim.pod
        if cell.announced is not None and cell.announced.ending_since:
            # Not handed back: the next attempt at this call gets another.
            await self._cells.release(cell.name, cell.announced.message)
            cause = f"the instance of its cell {cell.name} will be reclaimed: {cell.announced.message}"
            raise Fault(Kind.UNAVAILABLE, f"pod {pod.namespace}/{pod.name}", cause, "ask again for another cell")
        asked = config_for_cell(config)
        await volume_copy.send_seccomp(self._room.containers.on(cell.name), str(pod.uid), asked.linux.security_context)
        return (await self._room.sandboxes.make(cell.name, claim, asked, config, runtime_handler)).id

    def _still_coming(self, pod: PodRef, patience: float) -> Fault:
        thing = f"pod {pod.namespace}/{pod.name}"
        for cell in self._cells.list():
            if cell.claim is not None and cell.claim.pod == pod:
                since = time.time() - cell.changed_at
                cause = f"cell {cell.name} has been {cell.state.value} for {since:.0f} s"
                if cell.reason:
                    cause += f" ({cell.reason})"
                return Fault(Kind.TIMEOUT, thing, cause, "the cell is kept: ask again")
        return Fault(Kind.TIMEOUT, thing, f"no cell was found within {patience:.0f} s", "ask again")


def _standing(record: SandboxRecord) -> str:
    """The id of the sandbox that this attempt has already. Raises Fault EXISTS where that one is over."""
    status = cri.PodSandboxStatus.FromString(record.status)
    if record.released or status.state != cri.SANDBOX_READY:
        thing = f"sandbox of pod {status.metadata.namespace}/{status.metadata.name}"
        cause = f"{record.id[:13]} has the same uid and attempt and is over"
        raise Fault(Kind.EXISTS, thing, cause, "remove it, or count the attempt up")
    return record.id


def config_for_cell(config: cri.PodSandboxConfig) -> cri.PodSandboxConfig:
    """The config as the cell gets it: this worker's cgroups mean nothing there, and host ports are the cell's own."""
    changed = cri.PodSandboxConfig()
    changed.CopyFrom(config)
    changed.linux.cgroup_parent = ""
    for port in changed.port_mappings:
        if not _is_loopback(port.host_ip):
            port.host_ip = ""  # an address of this worker, for which the cell has its own
    return changed


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
