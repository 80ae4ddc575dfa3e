"""The few Kubernetes objects that kubectl sends as protobuf whatever it is offered: namespaces, options of deletion,
access reviews. Pure; field numbers are those of k8s.io/api and apimachinery.

An envelope of four bytes, then runtime.Unknown: type (apiVersion 1, kind 2) in field 1, the object itself in field 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.api.answers import bad_request
from controller.objects.fields import Json

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def decode(data: bytes) -> Json:
    """The object in a request's body. Raises Fault for kinds that are to come as JSON."""
    if not data.startswith(_MAGIC):
        raise bad_request("the body of the request is not Kubernetes protobuf")
    try:
        return _object(data[len(_MAGIC) :])
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise bad_request("the body of the request is broken protobuf") from error


def _object(data: bytes) -> Json:
    envelope = _message(data)
    kinds = _message(_last(envelope, 1))
    version, kind = _text(kinds, 1), _text(kinds, 2)
    raw = _message(_last(envelope, 2))
    match kind:
        case "Namespace":
            return {"apiVersion": version, "kind": kind, "metadata": _metadata(_message(_last(raw, 1)))}
        case "DeleteOptions":
            return _delete_options(raw)
        case "SelfSubjectAccessReview":
            return {"apiVersion": version, "kind": kind}
        case _:
            fault = bad_request(f"{kind or 'this object'} cannot be read as protobuf here; send it as application/json")
            fault.reason = "UnsupportedMediaType"
            raise fault


def _metadata(fields: dict[int, list[bytes | int]]) -> Json:
    metadata: Json = {"name": _text(fields, 1)}
    for number, name in ((11, "labels"), (12, "annotations")):
        entries = [_message(entry) for entry in fields.get(number, ()) if isinstance(entry, bytes)]
        if entries:
            metadata[name] = {_text(entry, 1): _text(entry, 2) for entry in entries}
    return metadata


def _delete_options(fields: dict[int, list[bytes | int]]) -> Json:
    options: Json = {}
    if 1 in fields:
        options["gracePeriodSeconds"] = fields[1][-1]
    if 2 in fields:
        options["preconditions"] = {"uid": _text(_message(_last(fields, 2)), 1)}
    if 5 in fields:
        options["dryRun"] = [one.decode() for one in fields[5] if isinstance(one, bytes)]
    return options


def _last(fields: dict[int, list[bytes | int]], number: int) -> bytes:
    found = fields.get(number, [b""])[-1]
    # A number where a message is due is read as one that is empty.
    return found if isinstance(found, bytes) else b""


def _text(fields: dict[int, list[bytes | int]], number: int) -> str:
    return _last(fields, number).decode()


def _message(data: bytes) -> dict[int, list[bytes | int]]:
    fields: dict[int, list[bytes | int]] = {}
    for number, value in _parse(data):
        fields.setdefault(number, []).append(value)
    return fields


def _parse(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("an unknown wire type")
        if at + size > len(data):
            raise ValueError("it is cut short")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")
