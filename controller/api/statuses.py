"""Status objects for what goes wrong, with the codes and reasons of Kubernetes that kubectl acts on. Pure."""

from __future__ import annotations

from cellwire.faults import Fault, Kind
from controller.objects.fields import Invalid, Json

CODES = {
    Kind.NOT_FOUND: (404, "NotFound"),
    Kind.EXISTS: (409, "AlreadyExists"),
    Kind.INVALID: (422, "Invalid"),
    Kind.NO_CAPACITY: (503, "ServiceUnavailable"),
    Kind.DENIED: (403, "Forbidden"),
    Kind.UNAVAILABLE: (503, "ServiceUnavailable"),
    Kind.UNREACHABLE: (503, "ServiceUnavailable"),
    Kind.TIMEOUT: (504, "Timeout"),
    Kind.PRECONDITION: (409, "Conflict"),
    Kind.UNSUPPORTED: (405, "MethodNotAllowed"),
    Kind.BROKEN: (500, "InternalError"),
}
REASONS = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Conflict": 409,
    "Expired": 410,
    "UnsupportedMediaType": 415,
    "RequestEntityTooLarge": 413,
}


def failure(code: int, reason: str, message: str, details: Json | None = None) -> Json:
    """A Status that tells of a failure."""
    status: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        status["details"] = details
    return status


def success(name: str, kind: str) -> Json:
    """A Status that tells that something was done to the thing of this name."""
    details = {"name": name, "kind": kind}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def status_of(fault: Fault) -> Json:
    """A fault as a Status."""
    code, reason = CODES[fault.kind]
    if fault.reason in REASONS:
        code, reason = REASONS[fault.reason], fault.reason
    if isinstance(fault, Invalid):
        causes = [{"reason": one.reason, "message": one.message, "field": one.field} for one in fault.causes]
        details: Json = {"name": fault.name, "kind": fault.kind_name, "causes": causes}
        if reason != "Invalid":
            return failure(code, reason, fault.cause, details)
        named = fault.kind_name
        if fault.group:
            details["group"] = fault.group
            named = f"{fault.kind_name}.{fault.group}"
        return failure(code, reason, f'{named} "{fault.name}" is invalid: {fault.cause}', details)
    resource, _, quoted = fault.thing.partition(" ")
    message = fault.cause if reason in REASONS else f"{fault.thing} {fault.cause}".strip()
    if fault.mend:
        message = f"{message}; {fault.mend}"
    name = quoted.strip('"')
    return failure(code, reason, message, {"name": name, "kind": resource} if name else None)
