"""OpenAPI documents made of the types: what `kubectl explain` shows, and by what kubectl computes its patches. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from controller.objects.fields import Json
from controller.objects.resource import Resource
from controller.objects.schema.base import Part, ValueForm
from controller.objects.shapes import Field, ValueShape, fields_of

_PREFIX = "io.k8s.api."
_PLAIN: dict[ValueForm, Json] = {
    ValueForm.TEXT: {"type": "string"},
    ValueForm.WHOLE: {"type": "integer", "format": "int64"},
    ValueForm.NUMBER: {"type": "number", "format": "double"},
    ValueForm.TRUTH: {"type": "boolean"},
    ValueForm.QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    ValueForm.TIME: {"type": "string", "format": "date-time"},
    ValueForm.INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    ValueForm.BYTES: {"type": "string", "format": "byte"},
    ValueForm.LOOSE: {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}
_WRITES = ("dryRun", "fieldManager", "fieldValidation")
PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def document(resources: Sequence[Resource], title_version: str) -> Json:
    """The OpenAPI v3 document of one group and version."""
    schemas: Json = {}
    paths: Json = {}
    for one in resources:
        _add(one.type, schemas)
        known = {"group": one.group, "version": one.version, "kind": one.kind}
        schemas[name_of(one.type)]["x-kubernetes-group-version-kind"] = [known]
        paths |= _paths(one, known)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": title_version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _paths(one: Resource, known: Json) -> Json:
    place = f"{one.root}/namespaces/{{namespace}}/{one.name}" if one.namespaced else f"{one.root}/{one.name}"
    body = {"schema": {"$ref": _reference(one.type)}}
    answer = {"200": {"description": "OK", "content": {"application/json": body}}}

    def operation(action: str, accepts: Sequence[str] = ()) -> Json:
        listed = _WRITES if accepts else ()
        told: Json = {
            "operationId": f"{action}{one.kind}",
            "responses": answer,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": known,
            "parameters": [
                {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in listed
            ],
        }
        if accepts:
            told["requestBody"] = {"content": dict.fromkeys(accepts, body), "required": True}
        return told

    found: Json = {place: {}, f"{place}/{{name}}": {"get": operation("get")}}
    if "create" in one.verbs:
        found[place]["post"] = operation("post", ("*/*",))
    if "patch" in one.verbs:
        found[f"{place}/{{name}}"]["patch"] = operation("patch", PATCHES)
        found[f"{place}/{{name}}"]["put"] = operation("put", ("*/*",))
    return found


def name_of(kind: type[Part]) -> str:
    """The name of a type among the schemas."""
    return f"{_PREFIX}{kind.__module__.rpartition('.')[2]}.{kind.__name__}"


def _reference(kind: type[Part]) -> str:
    return f"#/components/schemas/{name_of(kind)}"


def _add(kind: type[Part], schemas: Json) -> None:
    name = name_of(kind)
    if name in schemas:
        return
    schema: Json = {"type": "object", "properties": {}}
    schemas[name] = schema
    if kind.__doc__ and not kind.__doc__.startswith(kind.__name__):
        schema["description"] = kind.__doc__
    fields = fields_of(kind)
    required = [name for name, field in fields.items() if field.wire.required]
    if required:
        schema["required"] = required
    for name, field in fields.items():
        schema["properties"][name] = _property(field, schemas)
        if text := description(kind, name):
            schema["properties"][name]["description"] = text


def _property(field: Field, schemas: Json) -> Json:
    schema = _schema(field.shape, schemas)
    wire = field.wire
    key = wire.merge or next(iter(wire.keys), "")
    if key or wire.joins:
        schema["x-kubernetes-patch-strategy"] = "merge"
        if key:
            schema["x-kubernetes-patch-merge-key"] = key
    if wire.keys:
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = list(wire.keys)
    elif field.shape.form is ValueForm.LIST:
        schema["x-kubernetes-list-type"] = "set" if wire.is_set or wire.joins else "atomic"
    return schema


def _schema(shape: ValueShape, schemas: Json) -> Json:
    if shape.type is not None:
        _add(shape.type, schemas)
        return {"allOf": [{"$ref": _reference(shape.type)}], "default": {}}
    item: Any = _schema(shape.item, schemas) if shape.item is not None else {}
    if shape.form is ValueForm.LIST:
        return {"type": "array", "items": item}
    if shape.form is ValueForm.MAP:
        return {"type": "object", "additionalProperties": item}
    return dict(_PLAIN[shape.form])


# What `kubectl explain` says of fields: our own words.
_DESCRIPTIONS = Path(__file__).with_name("descriptions.txt")


@cache
def _texts() -> dict[str, str]:
    lines = (line for line in _DESCRIPTIONS.read_text().splitlines() if line and not line.startswith("#"))
    return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}


def description(kind: type[Part], name: str) -> str:
    """A sentence on a field of a type; "" where there is none."""
    return _texts().get(f"{kind.__name__}.{name}") or _texts().get(name, "")
