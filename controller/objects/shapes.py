"""The shapes of the API's types, read from the types once: what validation, patches, apply, explain and protobuf go by.

Pure.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from controller.objects.fields import Json
from controller.objects.schema.base import Part, ValueForm, Wire


class ValueShape(msgspec.Struct, frozen=True):
    """The shape of a value: its form, the type of an object, the items of a list or map."""

    form: ValueForm
    type: type[Part] | None = None
    item: ValueShape | None = None

    @property
    def fields(self) -> dict[str, Field]:
        """The fields of an object, by their names on the wire."""
        return fields_of(self.type) if self.type is not None else {}


class Field(msgspec.Struct, frozen=True):
    """A field: its shape, and what the wire says of it."""

    shape: ValueShape
    wire: Wire


LOOSE = ValueShape(ValueForm.LOOSE)
Decoded = TypeVar("Decoded", bound=Part)
_ZEROS = frozenset({ValueForm.TEXT, ValueForm.WHOLE, ValueForm.TRUTH})
_PLAIN = {str: ValueForm.TEXT, int: ValueForm.WHOLE, float: ValueForm.NUMBER, bool: ValueForm.TRUTH}


def shape_of(kind: type[Part]) -> ValueShape:
    """The shape of a type."""
    return ValueShape(ValueForm.OBJECT, type=kind)


@cache
def fields_of(kind: type[Part]) -> dict[str, Field]:
    """The fields of a type, by their names on the wire."""
    return {one.encode_name: _field(one.type) for one in msgspec.structs.fields(kind)}


def _field(hint: Any) -> Field:
    wire = Wire()
    if get_origin(hint) is Annotated:
        wire = next((note for note in get_args(hint)[1:] if isinstance(note, Wire)), wire)
    return Field(_shape(hint), wire)


def _shape(hint: Any) -> ValueShape:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *notes = get_args(hint)
        for note in notes:
            if isinstance(note, Meta) and note.extra and "form" in note.extra:
                return ValueShape(note.extra["form"])
        return _shape(inner)
    if origin in (Union, types.UnionType):
        (inner,) = [one for one in get_args(hint) if one is not type(None)]
        return _shape(inner)
    if origin in (list, tuple):
        return ValueShape(ValueForm.LIST, item=_shape(get_args(hint)[0]))
    if origin is dict:
        return ValueShape(ValueForm.MAP, item=_shape(get_args(hint)[1]))
    if isinstance(hint, type) and issubclass(hint, Part):
        return ValueShape(ValueForm.OBJECT, type=hint)
    return ValueShape(_PLAIN[hint]) if hint in _PLAIN else LOOSE


def unknown(value: object, shape: ValueShape, path: str = "") -> Iterator[str]:
    """The paths of all fields that the shape does not have."""
    match value, shape.form:
        case dict(), ValueForm.OBJECT:
            for name, member in value.items():
                field = shape.fields.get(name)
                below = f"{path}.{name}" if path else str(name)
                if field is None:
                    yield below
                else:
                    yield from unknown(member, field.shape, below)
        case dict(), ValueForm.MAP:
            for name, member in value.items():
                yield from unknown(member, shape.item or LOOSE, f"{path}.{name}")
        case list(), ValueForm.LIST:
            for index, member in enumerate(value):
                yield from unknown(member, shape.item or LOOSE, f"{path}[{index}]")
        case _:
            pass


def pruned(value: Any, shape: ValueShape, *, zeros: bool = False) -> Any:
    """The value without fields that the shape does not have and without nulls; without zeros that say no more than
    their absence, too, but with `zeros` and in a status. Clients that send protobuf write those of every field.
    """
    match value, shape.form:
        case dict(), ValueForm.OBJECT:
            fields = shape.fields
            return {
                name: pruned(member, fields[name].shape, zeros=zeros or name == "status")
                for name, member in value.items()
                if name in fields and member is not None and (zeros or not _is_none(member, fields[name]))
            }
        case dict(), ValueForm.MAP:
            item = shape.item or LOOSE
            return {name: pruned(member, item, zeros=zeros) for name, member in value.items() if member is not None}
        case list(), ValueForm.LIST:
            return [pruned(member, shape.item or LOOSE, zeros=zeros) for member in value]
        case _:
            return value


def _is_none(member: object, field: Field) -> bool:
    return member in (0, False, "") and field.shape.form in _ZEROS and not field.wire.zero_counts


def decoded(value: Json, kind: type[Decoded]) -> Decoded:
    """The value as its type; a field that is null is absent. Raises msgspec.ValidationError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return msgspec.convert(_without_nulls(value, shape_of(kind)), kind)


def _without_nulls(value: Any, shape: ValueShape) -> Any:
    """The value without fields of objects that are null, and without those that the shape does not have."""
    match value, shape.form:
        case dict(), ValueForm.OBJECT:
            fields = shape.fields
            return {
                name: _without_nulls(member, fields[name].shape)
                for name, member in value.items()
                if name in fields and member is not None
            }
        case dict(), ValueForm.MAP:
            return {name: _without_nulls(member, shape.item or LOOSE) for name, member in value.items()}
        case list(), ValueForm.LIST:
            return [_without_nulls(member, shape.item or LOOSE) for member in value]
        case _:
            return value


def mistyped(value: Json, kind: type[Part]) -> str:
    """Why the value cannot be of the type; "" where it can."""
    try:
        decoded(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""
