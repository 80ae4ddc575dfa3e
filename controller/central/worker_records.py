"""Records of workers: who each is, whether it may join, renew and call, and what it may claim. Pure.

A token is good once: for the key of who shows it first. Whoever holds that key is the worker until it is revoked, or
until another has joined with a newer token of the same name.
"""

from __future__ import annotations

import hashlib
import hmac
import re

import msgspec

from cellwire.faults import Fault, Kind
from controller.model.cell import Cell
from controller.model.pod import PodClaim

_PREFIX = "worker"
# A common name of a certificate has 64 characters, and some of them say that it is a worker's.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LONGEST_NAME = 56
_ROOM = re.compile(r"[a-z][a-z-]{0,31}")
# As Kubernetes bounds names.
LONGEST_OF_PODS = 253
MOST_IMAGES = 200
MEND = "make a token with `chinampa token worker`, and start the shim with it"


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as stored. Times are unix seconds, keys and tokens are digests; "" and 0 mean not yet.

    `token` joins until `token_until`, for the key `token_key` once that has shown it; `key` is that of who has joined.
    """

    name: str
    created_at: float
    token: str = ""
    token_until: float = 0.0
    token_key: str = ""
    key: str = ""
    joined_at: float = 0.0


def check_name(name: str) -> None:
    """Raise Fault INVALID for what is no name of a worker."""
    if len(name) > LONGEST_NAME or _NAME.fullmatch(name) is None:
        cause = f"it is not of small letters, digits, hyphens and dots, {LONGEST_NAME} at most"
        raise Fault(Kind.INVALID, f"worker {name[:100]!r}", cause, "take the name of its node")


def token_of(name: str, secret: str) -> str:
    """The token as it is shown once."""
    return f"{_PREFIX}.{name}.{secret}"


def named_by(token: str) -> str:
    """The name of the worker that a token is for; "" where it is no such token."""
    prefix, _, rest = token.partition(".")
    return rest.rpartition(".")[0] if prefix == _PREFIX else ""


def digest(token: str) -> str:
    """The record of a worker's token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def issued(former: WorkerRecord | None, name: str, token: str, now: float, until: float) -> WorkerRecord:
    """The record with a new token; one who has joined stays until another joins."""
    record = former or WorkerRecord(name=name, created_at=now)
    return msgspec.structs.replace(record, token=digest(token), token_until=until, token_key="")


def joined(record: WorkerRecord | None, token: str, key: str, now: float) -> WorkerRecord:
    """The record after a join by who holds `key`. Raises Fault DENIED saying why not."""
    if record is None or not record.token or not hmac.compare_digest(record.token, digest(token)):
        # Which of the two it is, is nothing for a stranger.
        raise Fault(Kind.DENIED, "join of a worker", "its token is not known here", MEND, reason="WrongToken")
    thing = f"join of worker {record.name}"
    if record.token_key and record.token_key != key:
        raise Fault(Kind.DENIED, thing, "another has joined with its token", MEND, reason="UsedToken")
    if now >= record.token_until:
        raise Fault(Kind.DENIED, thing, "its token has expired", MEND, reason="ExpiredToken")
    return msgspec.structs.replace(record, token_key=key, key=key, joined_at=record.joined_at or now)


def check_caller(record: WorkerRecord | None, name: str, key: str) -> None:
    """Raise Fault DENIED unless who shows a certificate for `name` and `key` is that worker still."""
    thing = f"worker {name}"
    if record is None:
        raise Fault(Kind.DENIED, thing, "it is not known here, or was revoked", MEND, reason="RevokedWorker")
    if not hmac.compare_digest(record.key, key):
        raise Fault(Kind.DENIED, thing, "another has joined under its name since", MEND, reason="AnotherKey")


def claim_of(told: bytes, worker: str) -> PodClaim:
    """The claim of a worker as it is written down. Raises Fault INVALID for what is none."""
    try:
        claim = msgspec.msgpack.decode(told, type=PodClaim)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Fault(Kind.INVALID, f"claim of worker {worker}", f"it cannot be read: {error}") from error
    names = (str(claim.pod.uid), claim.pod.namespace, claim.pod.name)
    demand = claim.demand
    if _ROOM.fullmatch(claim.by) is None or not claim.pod.uid or any(len(name) > LONGEST_OF_PODS for name in names):
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
