"""Who manages which field: the bookkeeping of server-side apply, as `metadata.managedFields` holds it. Pure.

A field is known by its path: names ("f:spec"), members of a keyed list by their keys ('k:{"name":"web"}'), members of
a set by their value ('v:"a"'). What has one owner as a whole, an atomic list say, is one path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from controller.objects.fields import Json
from controller.objects.schema.base import ValueForm, Wire
from controller.objects.shapes import LOOSE, Field, ValueShape

Path = tuple[str, ...]
PLAIN = Wire()
APPLY, UPDATE = "Apply", "Update"
# Steps of a path that a client brings; no field of any kind lies as deep.
DEEPEST = 64
# What the server says of an object itself, and nobody manages.
UNMANAGED = frozenset(
    {("f:apiVersion",), ("f:kind",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            *("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink"),
            *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "generateName"),
        )
    }
)


class Conflict(NamedTuple):
    """A field that another manager has."""

    manager: str
    version: str
    path: Path


def paths(value: object, shape: ValueShape, wire: Wire = PLAIN, at: Path = ()) -> Iterator[Path]:
    """The paths of all fields that are set in a value."""
    if at in UNMANAGED:
        return
    match value, shape.form:
        case dict(), ValueForm.OBJECT | ValueForm.MAP if not wire.atomic and (value or not at):
            for name, member in cast("Json", value).items():
                below = _below(shape, name)
                yield from paths(member, below.shape, below.wire, (*at, f"f:{name}"))
        case list(), ValueForm.LIST if wire.keys:
            for member in cast("list[Any]", value):
                key = _key(member, wire.keys)
                yield (*at, key)
                yield from paths(member, shape.item or LOOSE, PLAIN, (*at, key))
        case list(), ValueForm.LIST if wire.is_set or wire.joins:
            for member in cast("list[Any]", value):
                yield (*at, f"v:{_compact(member)}")
        case _:
            yield at


def _changed(old: object, value: object, shape: ValueShape, wire: Wire = PLAIN, at: Path = ()) -> Iterator[Path]:
    """The paths of all fields that are set in a value and were different, or absent. Passes over what is the same."""
    if at in UNMANAGED or (at and old == value):
        return
    match value, shape.form:
        case dict(), ValueForm.OBJECT | ValueForm.MAP if not wire.atomic and (value or not at):
            held = cast("Json", old) if isinstance(old, dict) else {}
            for name, member in cast("Json", value).items():
                below = _below(shape, name)
                yield from _changed(held.get(name), member, below.shape, below.wire, (*at, f"f:{name}"))
        case list(), ValueForm.LIST if wire.keys:
            for member in cast("list[Any]", value):
                key = _key(member, wire.keys)
                was = value_at(old, (key,))
                if was != member:
                    yield (*at, key)
                    yield from _changed(was, member, shape.item or LOOSE, PLAIN, (*at, key))
        case list(), ValueForm.LIST if wire.is_set or wire.joins:
            held = cast("list[Any]", old) if isinstance(old, list) else []
            for member in cast("list[Any]", value):
                if member not in held:
                    yield (*at, f"v:{_compact(member)}")
        case _:
            yield at


def _below(shape: ValueShape, name: str) -> Field:
    found = shape.fields.get(name)
    return found if found is not None else Field(shape.item or LOOSE, PLAIN)


def _key(member: object, keys: Sequence[str]) -> str:
    held: Json = cast("Json", member) if isinstance(member, dict) else {}
    named = {key: held.get(key, "TCP" if key == "protocol" else None) for key in keys}
    return "k:" + _compact({key: value for key, value in sorted(named.items()) if value is not None})


def _compact(value: object) -> str:
    """As Kubernetes writes it in a path."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def value_at(value: Any, path: Path) -> Any:
    """What is at a path; None for nothing. A member of a set is itself."""
    for step in path:
        if value is None:
            return None
        if step.startswith("f:"):
            value = value.get(step[2:]) if isinstance(value, dict) else None
        elif isinstance(value, list):
            value = _find(cast("list[Any]", value), step)
    return value


def _find(members: list[Any], step: str) -> Any:
    wanted = json.loads(step[2:])
    if step.startswith("v:"):
        return wanted if wanted in members else None
    return next((one for one in members if _matches(one, wanted)), None)


def _matches(member: object, wanted: Json) -> bool:
    if not isinstance(member, dict):
        return False
    held = cast("Json", member)
    return all(held.get(key, "TCP" if key == "protocol" else None) == value for key, value in wanted.items())


def without(value: Any, path: Path) -> Any:
    """The value without what is at a path."""
    step, rest = path[0], path[1:]
    if step.startswith("f:") and isinstance(value, dict):
        held, name = cast("Json", value), step[2:]
        if name not in held:
            return held
        if not rest:
            return {key: member for key, member in held.items() if key != name}
        return {**held, name: without(held[name], rest)}
    if isinstance(value, list):
        members, wanted = cast("list[Any]", value), json.loads(step[2:])
        if not rest:
            return [one for one in members if not (one == wanted if step.startswith("v:") else _matches(one, wanted))]
        return [without(one, rest) if _matches(one, wanted) else one for one in members]
    return value


def merged(current: Any, applied: Any, shape: ValueShape, wire: Wire = PLAIN) -> Any:
    """What is there with what was applied laid over it."""
    match current, applied, shape.form:
        case dict(), dict(), ValueForm.OBJECT | ValueForm.MAP if not wire.atomic:
            over = dict(cast("Json", current))
            for name, member in cast("Json", applied).items():
                below = _below(shape, name)
                over[name] = merged(over.get(name), member, below.shape, below.wire)
            return over
        case list(), list(), ValueForm.LIST if wire.keys:
            return _merged_lists(cast("list[Any]", current), cast("list[Any]", applied), shape.item or LOOSE, wire)
        case list(), list(), ValueForm.LIST if wire.is_set or wire.joins:
            return [*current, *(one for one in applied if one not in current)]
        case _:
            return applied


def _merged_lists(current: list[Any], applied: list[Any], item: ValueShape, wire: Wire) -> list[Any]:
    over = list(current)
    for one in applied:
        key = _key(one, wire.keys)
        at = next((index for index, old in enumerate(over) if _key(old, wire.keys) == key), None)
        if at is None:
            over.append(one)
        else:
            over[at] = merged(over[at], one, item)
    return over


def applied(
    current: Json, config: Json, shape: ValueShape, manager: str, version: str, now: str, *, force: bool
) -> tuple[Json, list[Conflict]]:
    """The object after a manager applied its configuration, with the fields that it had and no longer names taken away
    where nobody else has them; and the conflicts, with which nothing must be written.
    """
    entries = entries_of(current)
    wanted = set(paths(config, shape))
    conflicts: list[Conflict] = []
    others: list[tuple[Json, set[Path]]] = []
    before: set[Path] = set()
    for entry, held in entries:
        if entry["manager"] == manager and entry["operation"] == APPLY and not entry.get("subresource"):
            before = held
            continue
        disputed = {path for path in held & wanted if _differs(current, config, path)}
        conflicts += [Conflict(entry["manager"], entry["apiVersion"], path) for path in sorted(disputed)]
        others.append((entry, held - disputed if force else held))
    result = merged(current, config, shape)
    kept = set[Path]().union(*(held for _, held in others))
    # The deepest first: a member of a list goes after what was in it.
    for path in sorted(before - wanted, key=len, reverse=True):
        if not any(other[: len(path)] == path for other in kept | wanted):
            result = without(result, path)
    entry = _entry(manager, APPLY, version, now)
    return _with(result, [*others, (entry, wanted)]), [] if force else conflicts


def _differs(current: Json, config: Json, path: Path) -> bool:
    """Whether two want different things at a path. That a list has a member is the same wish, whatever is in it."""
    return not path[-1].startswith("k:") and value_at(current, path) != value_at(config, path)


def chosen(before: Json, wanted: Json, subresource: str = "") -> list[Json]:
    """The bookkeeping on which a change goes on: what was there, or what the client has put in its place.

    kubectl hands the fields of client-side apply over to server-side apply so. `[{}]` forgets everything; what cannot
    be read, or is empty, changes nothing.
    """
    there: list[Json] = before["metadata"].get("managedFields") or []
    given: object = wanted["metadata"].get("managedFields")
    if subresource or not isinstance(given, list) or not given:
        return there
    entries = cast("list[Any]", given)
    if entries == [{}]:
        return []
    return entries if all(_is_entry(one) for one in entries) else there


def _is_entry(one: object) -> bool:
    if not isinstance(one, dict):
        return False
    entry = cast("Json", one)
    texts = all(isinstance(entry.get(name), str) for name in ("manager", "apiVersion"))
    known = entry.get("operation") in {APPLY, UPDATE} and entry.get("fieldsType") == "FieldsV1"
    return texts and known and _is_tree(entry.get("fieldsV1"))


def _is_tree(value: object, depth: int = 0) -> bool:
    if not isinstance(value, dict) or depth > DEEPEST:
        return False
    return all(_is_step(step) and _is_tree(below, depth + 1) for step, below in cast("Json", value).items())


def _is_step(step: str) -> bool:
    if step == "." or step.startswith("f:"):
        return True
    try:
        named = json.loads(step[2:])
    except (ValueError, RecursionError):
        return False
    return step.startswith("v:") or (step.startswith("k:") and isinstance(named, dict))


def updated(
    before: Json | None, after: Json, shape: ValueShape, manager: str, version: str, now: str, subresource: str = ""
) -> Json:
    """The object with its bookkeeping after a manager changed it in another way than by applying."""
    old: Json = before or {}
    held_now = set(paths(after, shape))
    changed = held_now if before is None else set(_changed(old, after, shape))
    entries: list[tuple[Json, set[Path]]] = []
    own: tuple[Json, set[Path]] | None = None
    for entry, held in entries_of(old):
        mine = (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, UPDATE, subresource)
        left = (held & held_now) - (set() if mine else changed)
        if mine:
            own = (_entry(manager, UPDATE, version, now, subresource) if changed else entry, left | changed)
        else:
            entries.append((entry, left))
    if own is None and changed:
        own = (_entry(manager, UPDATE, version, now, subresource), changed)
    return _with(after, [*entries, *([own] if own else [])])


def _entry(manager: str, operation: str, version: str, now: str, subresource: str = "") -> Json:
    entry: Json = {"manager": manager, "operation": operation, "apiVersion": version, "time": now}
    return {**entry, "subresource": subresource} if subresource else entry


def entries_of(one: Json) -> list[tuple[Json, set[Path]]]:
    """Each manager's entry of an object, with its paths."""
    listed: list[Json] = (one.get("metadata") or {}).get("managedFields") or []
    return [(entry, set(_unfolded(entry.get("fieldsV1") or {}))) for entry in listed]


def _with(one: Json, entries: Iterable[tuple[Json, set[Path]]]) -> Json:
    listed = [{**entry, "fieldsType": "FieldsV1", "fieldsV1": _folded(held)} for entry, held in entries if held]
    return {**one, "metadata": {**one["metadata"], "managedFields": listed}}


def _folded(held: set[Path]) -> Json:
    tree: Json = {}
    for path in sorted(held):
        at = tree
        for step in path:
            at = at.setdefault(step, {})
        if path[-1].startswith("k:"):
            at["."] = {}
    return tree


def _unfolded(tree: Json, at: Path = ()) -> Iterator[Path]:
    if not tree and at:
        yield at
    for step, below in tree.items():
        if step == ".":
            yield at
        else:
            yield from _unfolded(below, (*at, _normal(step)))


def _normal(step: str) -> str:
    """One step in the one way of writing it, whoever wrote it."""
    return step if step.startswith("f:") else step[:2] + _compact(json.loads(step[2:]))


def written(path: Path) -> str:
    """A path as a person reads it: .spec.containers[name="web"].image."""
    said = ""
    for step in path:
        if step.startswith("f:"):
            said += f".{step[2:]}"
        elif step.startswith("k:"):
            keys = json.loads(step[2:])
            said += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
        else:
            said += f"[={step[2:]}]"
    return said
