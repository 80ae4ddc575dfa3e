"""Faults as gRPC statuses and back, in one place.

The sentence travels as the status message. Between controller and cell its parts travel too, as status details in a
form of ours, so that a fault that crosses the wire is still the fault that was raised; a kubelet gets the sentence.
"""

from __future__ import annotations

import json
import ssl
from typing import Any

from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from cellwire.faults import Fault, Kind, legible

STATUSES = {
    Kind.NOT_FOUND: Status.NOT_FOUND,
    Kind.EXISTS: Status.ALREADY_EXISTS,
    Kind.INVALID: Status.INVALID_ARGUMENT,
    Kind.NO_CAPACITY: Status.RESOURCE_EXHAUSTED,
    Kind.DENIED: Status.PERMISSION_DENIED,
    Kind.UNAVAILABLE: Status.UNAVAILABLE,
    Kind.UNREACHABLE: Status.UNAVAILABLE,
    Kind.TIMEOUT: Status.DEADLINE_EXCEEDED,
    Kind.PRECONDITION: Status.FAILED_PRECONDITION,
    Kind.UNSUPPORTED: Status.UNIMPLEMENTED,
    Kind.BROKEN: Status.INTERNAL,
}
KINDS = {status: kind for kind, status in STATUSES.items() if kind is not Kind.UNREACHABLE} | {
    Status.UNAUTHENTICATED: Kind.DENIED,
    Status.CANCELLED: Kind.UNAVAILABLE,
    Status.OUT_OF_RANGE: Kind.INVALID,
    Status.ABORTED: Kind.UNAVAILABLE,
}
UNREADABLE = "UnreadableAnswer"
# Bytes of a sentence and of each part of it. Both travel in one block of headers, of which a peer takes 64 KiB, and may
# grow threefold and sixfold in escaping: a runtime's pages of words must not break the connection.
LONGEST = 3000
LONGEST_PART = {"kind": 100, "thing": 500, "cause": LONGEST, "mend": 500, "reason": 100}


class FaultCodec(StatusDetailsCodecBase):
    """The parts of a fault as status details. Only for connections of which both ends are ours."""

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:
        """Details as bytes."""
        parts = zip(details, LONGEST_PART.values(), strict=True)
        return json.dumps([_cut(str(part), longest) for part, longest in parts], ensure_ascii=False).encode()

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:
        """Details of bytes; nothing where they are not ours."""
        try:
            parts = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return parts if isinstance(parts, list) and all(isinstance(part, str) for part in parts) else None


def error_of(fault: Fault) -> GRPCError:
    """The status that a client acts on."""
    parts = [fault.kind.value, fault.thing, fault.cause, fault.mend, fault.reason]
    return GRPCError(STATUSES[fault.kind], _cut(str(fault), LONGEST), parts)


def fault_of(error: BaseException) -> Fault:
    """What a failed call means: the fault that the other side raised, or what broke on the way."""
    match error:
        case Fault():
            return error
        case GRPCError():
            return _told(error) or _guessed(error)
        case TimeoutError():
            return Fault(Kind.TIMEOUT, "the call", "it was not answered in time")
        case ssl.SSLCertVerificationError():
            return Fault(Kind.DENIED, "the connection", f"the peer's certificate is not good: {error.verify_message}")
        case DecodeError():
            return Fault(Kind.BROKEN, "the call", "the answer is no message of its kind", reason=UNREADABLE)
        case StreamTerminatedError() | OSError() | H2Error():
            return Fault(Kind.UNREACHABLE, "the connection", str(error) or "it was lost")
        case _:
            return Fault(Kind.BROKEN, "the call", f"{type(error).__name__}: {error}")


def _cut(text: str, longest: int) -> str:
    return text.encode(errors="replace")[:longest].decode(errors="ignore")


def _told(error: GRPCError) -> Fault | None:
    parts: Any = error.details
    if not isinstance(parts, list) or len(parts) != 5 or parts[0] not in {kind.value for kind in Kind}:
        return None
    # Whoever tells a fault was reached: what it could not reach is something else.
    kind = Kind.UNAVAILABLE if parts[0] == Kind.UNREACHABLE.value else Kind(parts[0])
    # A peer that is not ours may have left the lengths as they were.
    cut = (_cut(part, most) for part, most in zip(parts, LONGEST_PART.values(), strict=True))
    _, thing, cause, mend, reason = map(legible, cut)
    return Fault(kind, thing, cause, mend, reason=reason)


def _guessed(error: GRPCError) -> Fault:
    thing, _, cause = legible(_cut(error.message or "", LONGEST)).partition(": ")
    kind = KINDS.get(error.status, Kind.BROKEN)
    return Fault(kind, thing or "the call", cause or f"it ended with status {error.status.name}")
