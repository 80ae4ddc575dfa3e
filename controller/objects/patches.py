"""Applies the patches that kubectl sends: strategic merge, merge and JSON patches. Pure."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from cellwire.faults import Fault, Kind
from controller.objects.fields import Json, bad_request
from controller.objects.shapes import LOOSE, ValueShape

DEEPEST = 64
# kube-apiserver's own bounds: each copy may double what the next one copies.
MOST_OPERATIONS, MOST_COPIED = 10_000, 3 << 20
_GONE = object()


def merge(target: object, patch: object, depth: int = 0) -> object:
    """A JSON merge patch (RFC 7386)."""
    _not_too_deep(depth)
    if not isinstance(patch, dict):
        return patch
    merged: Json = dict(cast("Json", target)) if isinstance(target, dict) else {}
    for name, value in cast("Json", patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value, depth + 1)
    return merged


def strategic(target: object, patch: object, shape: ValueShape, depth: int = 0) -> object:
    """A strategic merge patch: lists whose members have a key are merged by it, as the shape says."""
    _not_too_deep(depth)
    if not isinstance(patch, dict):
        return patch
    patch = cast("Json", patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    merged: Json = dict(cast("Json", target)) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            gone = {_bytes_of(one) for one in _listed(name, value)}
            merged[field] = [one for one in _listed(field, merged.get(field) or []) if _bytes_of(one) not in gone]
        elif name == "$retainKeys":
            kept = {str(field) for field in _listed(name, value)}
            merged = {field: member for field, member in merged.items() if field in kept}
        elif name.startswith("$"):
            continue  # the order of lists changes nothing here
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = _member(merged.get(name), value, shape, name, depth)
    return merged


def _member(target: object, value: object, shape: ValueShape, name: str, depth: int) -> object:
    field = shape.fields.get(name)
    below = field.shape if field is not None else (shape.item or LOOSE)
    if isinstance(value, list) and field is not None:
        key = field.wire.merge or next(iter(field.wire.keys), "")
        held = cast("list[Any]", target if isinstance(target, list) else [])
        if key:
            return _lists(held, cast("list[Any]", value), key, below.item or LOOSE, depth)
        if field.wire.joins:
            there = {_bytes_of(one) for one in held}
            return [*held, *(one for one in cast("list[Any]", value) if _bytes_of(one) not in there)]
    return strategic(target, value, below, depth + 1)


def _lists(target: list[Any], patch: list[Any], key: str, shape: ValueShape, depth: int) -> list[Any]:
    """By an index: clients choose how long lists are, and others wait meanwhile."""
    merged, places = list(target), _MemberPlaces(target, key)
    for one in patch:
        if isinstance(one, dict) and one.get("$patch") == "replace" and key not in one:
            return [other for other in patch if other is not one]
        if not isinstance(one, dict) or key not in one:
            raise bad_request(f"map: {str(one)[:300]} does not contain declared merge key: {key}")
        entry = cast("Json", one)
        at = places.of(entry[key])
        if entry.get("$patch") == "delete":
            if at is not None:
                merged[at] = _GONE
                places.gone(entry[key])
        elif at is None:
            places.add(entry[key], len(merged))
            merged.append(strategic({}, entry, shape, depth + 1))
        else:
            merged[at] = strategic(merged[at], entry, shape, depth + 1)
    return [one for one in merged if one is not _GONE]


class _MemberPlaces:
    """Where members of a list are, by the value of their key; of several that share one, the first counts."""

    def __init__(self, members: list[Any], key: str) -> None:
        self._places: dict[bytes, list[int]] = {}
        for index in reversed(range(len(members))):
            member: Any = members[index]
            if isinstance(member, dict):
                self.add(cast("Json", member).get(key), index)

    def add(self, value: object, index: int) -> None:
        self._places.setdefault(_bytes_of(value), []).append(index)

    def of(self, value: object) -> int | None:
        there = self._places.get(_bytes_of(value))
        return there[-1] if there else None

    def gone(self, value: object) -> None:
        self._places[_bytes_of(value)].pop()


def _listed(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{name[:300]} of a patch must be a list")
    return cast("list[Any]", value)


def _bytes_of(value: object) -> bytes:
    """By which one value can be found among many."""
    return msgspec.json.encode(value, order="deterministic")


def json_patch(target: Json, operations: object) -> Json:
    """A JSON patch (RFC 6902)."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    if len(cast("list[Any]", operations)) > MOST_OPERATIONS:
        raise bad_request(f"a JSON patch has at most {MOST_OPERATIONS} operations")
    patched, left = copy.deepcopy(target), MOST_COPIED
    for operation in cast("list[Any]", operations):
        if not isinstance(operation, dict):
            raise bad_request("an operation of a JSON patch is an object")
        left = _operate(patched, cast("Json", operation), left)
    level: list[Any] = [patched]
    for depth in itertools.count():
        _not_too_deep(depth - DEEPEST)  # what is there may be deeper than a patch
        level = [member for one in level for member in _members(one)]
        if not level:
            break
    return patched


def _members(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("Json", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()


def _operate(document: Json, operation: Json, left: int) -> int:
    """Change the document; how many more bytes may be copied afterwards."""
    op, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise bad_request(f"the path of a JSON patch operation must begin with '/', not {path!r}")
    try:
        match op:
            case "add" | "replace":
                _put(document, path, operation["value"], insert=op == "add")
            case "remove":
                _remove(document, path)
            case "test":
                if _get(document, path) != operation.get("value"):
                    raise Fault(Kind.INVALID, "", f"testing path {path} failed")
            case "copy":
                copied, left = _copied(_get(document, operation["from"]), left)
                _put(document, path, copied, insert=True)
            case "move":
                _put(document, path, _remove(document, operation["from"]), insert=True)
            case _:
                raise bad_request(f"unknown operation {op!r} of a JSON patch")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise bad_request(f"the JSON patch operation {op} cannot be applied at {path}") from error
    except RecursionError as error:
        raise bad_request("the patch is nested too deeply") from error
    return left


def _copied(value: object, left: int) -> tuple[object, int]:
    encoded = msgspec.json.encode(value)
    if len(encoded) > left:
        raise bad_request(f"the copies of a JSON patch take more than {MOST_COPIED} bytes")
    return msgspec.json.decode(encoded), left - len(encoded)


def _steps(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _index(step: str) -> int:
    if not step.isascii() or not step.isdecimal():
        raise ValueError("a place in a list is a whole number from 0 on")
    return int(step)


def _get(document: Any, path: str) -> Any:
    for step in _steps(path):
        document = document[_index(step)] if isinstance(document, list) else document[step]
    return document


def _parent(document: Json, path: str) -> tuple[Any, str]:
    head, _, _ = path.rpartition("/")
    return _get(document, head), _steps(path)[-1]


def _put(document: Json, path: str, value: object, *, insert: bool) -> None:
    parent, last = _parent(document, path)
    if isinstance(parent, list):
        if insert:
            parent.insert(len(cast("list[Any]", parent)) if last == "-" else _index(last), value)
        else:
            parent[_index(last)] = value
    else:
        parent[last] = value


def _remove(document: Json, path: str) -> Any:
    parent, last = _parent(document, path)
    return parent.pop(_index(last) if isinstance(parent, list) else last)


def _not_too_deep(depth: int) -> None:
    if depth > DEEPEST:
        raise bad_request("the patch is nested too deeply")
