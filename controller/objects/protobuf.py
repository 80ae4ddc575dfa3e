"""Objects of the API in the protobuf form in which Go clients send them. Pure; numbers are those of the types.

An envelope of four bytes, then runtime.Unknown: type (apiVersion 1, kind 2) in field 1, the object itself in field 2.
"""

from __future__ import annotations

import base64
import datetime
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from controller.objects.fields import Json, bad_request
from controller.objects.schema.base import Part, ValueForm
from controller.objects.shapes import LOOSE, Field, ValueShape, fields_of

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Of these an empty value on the wire says something: that there is one.
_SAID_IF_EMPTY = frozenset({ValueForm.OBJECT, ValueForm.WHOLE, ValueForm.NUMBER, ValueForm.TRUTH})
_Message = dict[int, list[bytes | int]]


def decode(data: bytes, kinds: Mapping[str, type[Part]]) -> Json:
    """The object in a request's body, one of these kinds. Raises Fault for any other."""
    if not data.startswith(_MAGIC):
        raise bad_request("the body of the request is not Kubernetes protobuf")
    try:
        envelope = _message(data[len(_MAGIC) :])
        named = _message(_last(envelope, 1))
        version, kind = _text(named, 1), _text(named, 2)
        if kind in kinds:
            return {"apiVersion": version, "kind": kind, **_object(_last(envelope, 2), kinds[kind])}
    # The last two are moments that no clock tells.
    except (IndexError, UnicodeDecodeError, ValueError, struct.error, OverflowError, OSError) as error:
        raise bad_request("the body of the request is broken protobuf") from error
    fault = bad_request(f"{kind or 'this object'} cannot be read as protobuf here; send it as application/json")
    fault.reason = "UnsupportedMediaType"
    raise fault


def _object(data: bytes, kind: type[Part]) -> Json:
    message = _message(data)
    held: dict[int, _Message] = {}
    found: Json = {}
    for name, field in fields_of(kind).items():
        wire = field.wire
        source = message
        if wire.within:
            if wire.within not in held:
                held[wire.within] = _message(_last(message, wire.within))
            source = held[wire.within]
        if wire.number in source:
            value = _field(source[wire.number], field)
            if value or field.shape.form in _SAID_IF_EMPTY or wire.zero_counts:
                found[name] = value
    return found


def _field(given: list[bytes | int], field: Field) -> Any:
    shape = field.shape
    if shape.form is ValueForm.LIST:
        item = shape.item or LOOSE
        return [_value(one, item) for one in given]
    if shape.form is ValueForm.MAP:
        entries = [_message(one) for one in given if isinstance(one, bytes)]
        item = shape.item or LOOSE
        return {_text(entry, 1): _value(entry.get(2, [b""])[-1], item) for entry in entries}
    return _value(given[-1], shape)


def _value(given: bytes | int, shape: ValueShape) -> Any:
    match shape.form:
        case ValueForm.WHOLE:
            return _signed(given) if isinstance(given, int) else 0
        case ValueForm.TRUTH:
            return bool(given)
        case ValueForm.NUMBER:
            return struct.unpack("<d", given)[0] if isinstance(given, bytes) else float(given)
        case _:
            return _bytes(given if isinstance(given, bytes) else b"", shape)


def _bytes(given: bytes, shape: ValueShape) -> Any:
    match shape.form:
        case ValueForm.OBJECT if shape.type is not None:
            return _object(given, shape.type)
        case ValueForm.LIST:
            return [_value(one, shape.item or LOOSE) for one in _message(given).get(1, ())]
        case ValueForm.QUANTITY:
            return _text(_message(given), 1)
        case ValueForm.TIME:
            return _time(_message(given))
        case ValueForm.INT_OR_STRING:
            message = _message(given)
            kind = message.get(1, [0])[-1]
            number = message.get(2, [0])[-1]
            return _text(message, 3) if kind == 1 else _signed(number if isinstance(number, int) else 0)
        case ValueForm.BYTES:
            return base64.b64encode(given).decode()
        case ValueForm.LOOSE:
            return None
        case _:
            return given.decode()


def _time(message: _Message) -> str | None:
    seconds = message.get(1, [0])[-1]
    if not isinstance(seconds, int) or not seconds:
        return None
    at = datetime.datetime.fromtimestamp(_signed(seconds), datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _last(fields: _Message, number: int) -> bytes:
    found = fields.get(number, [b""])[-1]
    # A number where a message is due is read as one that is empty.
    return found if isinstance(found, bytes) else b""


def _text(fields: _Message, number: int) -> str:
    return _last(fields, number).decode()


def _message(data: bytes) -> _Message:
    fields: _Message = {}
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
