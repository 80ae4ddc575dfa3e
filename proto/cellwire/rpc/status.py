"""Faults as gRPC statuses and back, in one place.

The sentence travels as the status message. Between controller and cell its parts travel too, as status details in a
form of ours, so that a fault that crosses the wire is still the fault that was raised; a kubelet gets the sentence.
"""

from __future__ import annotations

import json
from typing import Any

from grpclib.const import Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError

from cellwire.faults import Fault, Kind

STATUSES = {
    Kind.NOT_FOUND: Status.NOT_FOUND,
    Kind.EXISTS: Status.ALREADY_EXISTS,
    Kind.INVALID: Status.INVALID_ARGUMENT,
    Kind.NO_CAPACITY: Status.RESOURCE_EXHAUSTED,
    Kind.DENIED: Status.PERMISSION_DENIED,
    Kind.UNAVAILABLE: Status.UNAVAILABLE,
    Kind.TIMEOUT: Status.DEADLINE_EXCEEDED,
    Kind.PRECONDITION: Status.FAILED_PRECONDITION,
    Kind.UNSUPPORTED: Status.UNIMPLEMENTED,
    Kind.BROKEN: Status.INTERNAL,
}
KINDS = {status: kind for kind, status in STATUSES.items()} | {
    Status.UNAUTHENTICATED: Kind.DENIED,
    Status.CANCELLED: Kind.UNAVAILABLE,
    Status.OUT_OF_RANGE: Kind.INVALID,
    Status.ABORTED: Kind.UNAVAILABLE,
}
# A status message is an HTTP header: a runtime's pages of words must not break the connection.
LONGEST = 3000


class FaultCodec(StatusDetailsCodecBase):
    """The parts of a fault as status details. Only for connections of which both ends are ours."""

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:
        """Details as bytes."""
        return json.dumps([str(part)[:LONGEST] for part in details]).encode()

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:
        """Details of bytes; nothing where they are not ours."""
        try:
            parts = json.loads(data)
        except ValueError:
            return None
        return parts if isinstance(parts, list) else None


def error_of(fault: Fault) -> GRPCError:
    """The status that a client acts on."""
    parts = [fault.kind.value, fault.thing, fault.cause, fault.mend, fault.reason]
    return GRPCError(STATUSES[fault.kind], str(fault)[:LONGEST], parts)


def fault_of(error: BaseException) -> Fault:
    """What a failed call means: the fault that the other side raised, or what broke on the way."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, GRPCError):
        return _told(error) or _guessed(error)
    if isinstance(error, TimeoutError):
        return Fault(Kind.TIMEOUT, "the call", "it was not answered in time")
    if isinstance(error, (StreamTerminatedError, OSError)):
        return Fault(Kind.UNAVAILABLE, "the connection", str(error) or "it was lost")
    return Fault(Kind.BROKEN, "the call", f"{type(error).__name__}: {error}")


def _told(error: GRPCError) -> Fault | None:
    parts: Any = error.details
    if not isinstance(parts, list) or len(parts) != 5 or parts[0] not in {kind.value for kind in Kind}:
        return None
    return Fault(Kind(parts[0]), parts[1], parts[2], parts[3], reason=parts[4])


def _guessed(error: GRPCError) -> Fault:
    thing, _, cause = (error.message or "").partition(": ")
    kind = KINDS.get(error.status, Kind.BROKEN)
    return Fault(kind, thing or "the call", cause or f"it ended with status {error.status.name}")
