"""Tables as a Kubernetes API server prints them: kubectl shows the columns and cells that it is given. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from controller.objects.fields import Json

NONE = "<none>"


class Column(NamedTuple):
    """One column; those with `wide` show with -o wide only."""

    name: str
    wide: bool = False
    type: str = "string"
    format: str = ""


class Table(NamedTuple):
    """Table by which objects of one kind are printed."""

    columns: Sequence[Column]
    cells: Callable[[Json, float], list[Any]]


def table(kind: Table, objects: Sequence[Json], revision: str, now: float, include: str) -> Json:
    """A Table of these objects; `include` is Metadata, Object or None."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format or ("name" if column.name == "Name" else ""),
                "description": column.name,
                "priority": int(column.wide),
            }
            for column in kind.columns
        ],
        "rows": [_row(kind, one, now, include) for one in objects],
    }


def _row(kind: Table, one: Json, now: float, include: str) -> Json:
    row: Json = {"cells": kind.cells(one, now)}
    phase = (one.get("status") or {}).get("phase")
    if one["kind"] == "Pod" and phase in {"Succeeded", "Failed"}:
        why = {
            "reason": phase,
            "message": f"The pod has {'completed successfully' if phase == 'Succeeded' else 'failed'}.",
        }
        row["conditions"] = [{"type": "Completed", "status": "True", **why}]
    if include == "Object":
        row["object"] = one
    elif include != "None":
        partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": one["metadata"]}
        row["object"] = partial
    return row
