"""The CRI that we speak is the CRI of the table, row by row."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from cellwire.cri.v1 import runtime_pb2

TABLE = Path(__file__).parent.parent / "data" / "cri-runtime-v1.tsv"
FILE = runtime_pb2.DESCRIPTOR
SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
}


def rows(kind: str) -> list[dict[str, str]]:
    with TABLE.open(newline="") as table:
        found = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in found if row["kind"] == kind]


def type_of(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        message = field.message_type
        if message.GetOptions().map_entry:
            key, value = message.fields_by_name["key"], message.fields_by_name["value"]
            return f"map<{type_of(key)},{type_of(value)}>"
        return message.full_name.removeprefix("runtime.v1.")
    if field.enum_type is not None:
        return field.enum_type.full_name.removeprefix("runtime.v1.")
    return SCALARS[field.type]


def label_of(field: FieldDescriptor) -> str:
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if field.is_repeated and not is_map:
        return "repeated"
    return "deprecated" if field.GetOptions().deprecated else ""


def message(name: str) -> Descriptor:
    return FILE.message_types_by_name[name]


def enum(name: str) -> EnumDescriptor:
    if "." in name:
        parent, child = name.split(".")
        return message(parent).enum_types_by_name[child]
    return FILE.enum_types_by_name[name]


def test_the_package_is_the_one_a_kubelet_dials() -> None:
    assert [row["parent"] for row in rows("package")] == [FILE.package]


@pytest.mark.parametrize("row", rows("rpc"), ids=lambda row: f"{row['parent']}.{row['name']}")
def test_every_rpc_of_the_table_is_declared(row: dict[str, str]) -> None:
    method = FILE.services_by_name[row["parent"]].methods_by_name[row["name"]]
    reply = ("stream " if method.server_streaming else "") + method.output_type.name
    assert (method.input_type.name, reply) == (row["type_or_request"], row["label_or_response"])
    assert not method.client_streaming


@pytest.mark.parametrize("row", rows("field"), ids=lambda row: f"{row['parent']}.{row['name']}")
def test_every_field_of_the_table_has_its_number_and_type(row: dict[str, str]) -> None:
    field = message(row["parent"]).fields_by_name[row["name"]]
    declared = type_of(field)
    assert field.number == int(row["number"])
    assert declared.split(".")[-1] == row["type_or_request"].split(".")[-1]
    assert label_of(field) == row["label_or_response"]


@pytest.mark.parametrize("row", rows("enum"), ids=lambda row: f"{row['parent']}.{row['name']}")
def test_every_enum_value_of_the_table_has_its_number(row: dict[str, str]) -> None:
    assert enum(row["parent"]).values_by_name[row["name"]].number == int(row["number"])


@pytest.mark.parametrize("row", rows("message"), ids=lambda row: row["parent"])
def test_every_empty_message_of_the_table_is_declared(row: dict[str, str]) -> None:
    assert not message(row["parent"]).fields


def test_nothing_is_declared_that_the_table_lacks() -> None:
    named = {row["parent"] for kind in ("field", "message") for row in rows(kind)}
    assert set(FILE.message_types_by_name) == named
    fields = {(row["parent"], row["name"]) for row in rows("field")}
    assert {(m.name, f.name) for m in FILE.message_types_by_name.values() for f in m.fields} == fields
