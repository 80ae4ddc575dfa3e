"""Claims of a worker: what it may claim, and how a cell that it has claimed looks to it. Pure.

A claim is written down under the room and the worker ("shim@node-1"), so that a worker sees and ends its own cells only
and the rooms of the controller itself take none of them for theirs.
"""

from __future__ import annotations

import re

import msgspec

from cellwire.faults import Fault, Kind
from controller.model.cell import Cell
from controller.model.pod import PodClaim

_ROOM = re.compile(r"[a-z][a-z-]{0,31}")
# As Kubernetes bounds names.
LONGEST = 253
MOST_IMAGES = 200


def claim_of(told: bytes, worker: str) -> PodClaim:
    """The claim of a worker as it is written down. Raises Fault INVALID for what is none."""
    try:
        claim = msgspec.msgpack.decode(told, type=PodClaim)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Fault(Kind.INVALID, f"claim of worker {worker}", f"it cannot be read: {error}") from error
    names = (str(claim.pod.uid), claim.pod.namespace, claim.pod.name)
    demand = claim.demand
    if _ROOM.fullmatch(claim.by) is None or not claim.pod.uid or any(len(name) > LONGEST for name in names):
        raise Fault(Kind.INVALID, f"claim of worker {worker}", "it names no pod, or one that Kubernetes would not")
    if min(demand.cpu_millis, demand.memory_mib, demand.gpus, demand.disk_gb, demand.network_mbps) < 0:
        raise Fault(Kind.INVALID, f"claim of worker {worker}", "it asks for less than nothing")
    return msgspec.structs.replace(claim, by=f"{claim.by}@{worker}", images=claim.images[:MOST_IMAGES])


def is_of(cell: Cell, worker: str) -> bool:
    """Whether this worker has claimed the cell."""
    return cell.claim is not None and cell.claim.worker == worker


def as_seen(cell: Cell) -> bytes:
    """The record of a cell as its worker gets it: claimed by a room of its own, and without the hashes of tokens."""
    claim = cell.claim
    if claim is not None:
        claim = msgspec.structs.replace(claim, by=claim.by.partition("@")[0])
    return msgspec.msgpack.encode(msgspec.structs.replace(cell, claim=claim, join_token_hash="", client_token=""))
