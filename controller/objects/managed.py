"""Managed fields: the bookkeeping of server-side apply, who manages which, as `metadata.managedFields` holds it. Pure.

A field is known by its path: names ("f:spec"), members of a keyed list by their keys ('k:{"name":"web"}'), members of
a set by their value ('v:"a"'). What has one owner as a whole, an atomic list say, is one path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from cellwire import strangers_json
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
            former = _by_key(old, wire.keys)
            for member in cast("list[Any]", value):
                key = _key(member, wire.keys)
                was = former.get(key)
                if was != member:
                    yield (*at, key)
                    yield from _changed(was, member, shape.item or LOOSE, PLAIN, (*at, key))
        case list(), ValueForm.LIST if wire.is_set or wire.joins:
            held = _texts(old)
            for member in cast("list[Any]", value):
                if (text := _compact(member)) not in held:
                    yield (*at, f"v:{text}")
        case _:
            yield at


def _below(shape: ValueShape, name: str) -> Field:
    found = shape.fields.get(name)
    return found if found is not None else Field(shape.item or LOOSE, PLAIN)


def _key(member: object, keys: Sequence[str]) -> str:
    held: Json = cast("Json", member) if isinstance(member, dict) else {}
    named = {key: held.get(key, "TCP" if key == "protocol" else None) for key in keys}
    return "k:" + _compact({key: value for key, value in sorted(named.items()) if value is not None})


def _by_key(members: object, keys: Sequence[str]) -> dict[str, Any]:
    """The members of a list by their keys: clients choose how long lists are. The first of several counts."""
    listed = cast("list[Any]", members) if isinstance(members, list) else []
    return {_key(one, keys): one for one in reversed(listed)}


def _texts(members: object) -> set[str]:
    return {_compact(one) for one in cast("list[Any]", members)} if isinstance(members, list) else set()


def _compact(value: object) -> str:
    """As Kubernetes writes it in a path."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _nested(listed: Iterable[Path]) -> Json:
    """Paths as a tree of steps, in which an empty step is the end of a path."""
    tree: Json = {}
    for path in listed:
        at = tree
        for step in path:
            at = at.setdefault(step, {})
        at[""] = {}
    return tree


def values(value: Any, listed: Iterable[Path]) -> dict[Path, Any]:
    """What is at each of these paths; None for nothing. A member of a set is itself."""
    return dict(_values(value, _nested(listed), ()))


def _values(value: Any, tree: Json, at: Path) -> Iterator[tuple[Path, Any]]:
    found = _members(value, tree)
    for step, below in tree.items():
        if step:
            yield from _values(found.get(step), below, (*at, step))
        else:
            yield at, value


def _members(value: object, tree: Json) -> dict[str, Any]:
    """What is one step further, by those steps of a tree that lead to anything."""
    if isinstance(value, dict):
        return {step: member for name, member in cast("Json", value).items() if (step := f"f:{name}") in tree}
    if not isinstance(value, list):
        return {}
    kinds = _kinds(tree)
    found: dict[str, Any] = {}
    for member in cast("list[Any]", value):
        if (step := _step_to(member, tree, kinds)) is not None:
            found.setdefault(step, member)
    return found


def _kinds(tree: Json) -> frozenset[tuple[str, ...]]:
    """By which keys members of a list are named in a tree."""
    return frozenset(tuple(json.loads(step[2:])) for step in tree if step.startswith("k:"))


def _step_to(member: object, tree: Json, kinds: Iterable[tuple[str, ...]]) -> str | None:
    steps = [f"v:{_compact(member)}", *(_key(member, keys) for keys in kinds)]
    return next((step for step in steps if step in tree), None)


def without(value: Any, listed: Iterable[Path]) -> Any:
    """The value without what is at these paths."""
    return _without(value, _nested(listed))


def _without(value: Any, tree: Json) -> Any:
    if isinstance(value, dict):
        below = ((name, member, tree.get(f"f:{name}", {})) for name, member in cast("Json", value).items())
        return {name: _without(member, steps) if steps else member for name, member, steps in below if "" not in steps}
    if isinstance(value, list) and tree:
        kinds = _kinds(tree)
        found = ((one, tree.get(_step_to(one, tree, kinds) or "", {})) for one in cast("list[Any]", value))
        return [_without(one, steps) if steps else one for one, steps in found if "" not in steps]
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
            there = _texts(current)
            return [*current, *(one for one in applied if _compact(one) not in there)]
        case _:
            return applied


def _merged_lists(current: list[Any], applied: list[Any], item: ValueShape, wire: Wire) -> list[Any]:
    over = list(current)
    places = {_key(one, wire.keys): index for index, one in reversed([*enumerate(over)])}
    for one in applied:
        at = places.setdefault(_key(one, wire.keys), len(over))
        if at == len(over):
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
        there, asked = values(current, held & wanted), values(config, held & wanted)
        # That a list has a member is the same wish, whatever is in it.
        disputed = {path for path in held & wanted if not path[-1].startswith("k:") and there[path] != asked[path]}
        conflicts += [Conflict(entry["manager"], entry["apiVersion"], path) for path in sorted(disputed)]
        others.append((entry, held - disputed if force else held))
    result = merged(current, config, shape)
    kept = wanted.union(*(held for _, held in others))
    # What has something below it that somebody wants stays.
    above = {path[:length] for path in kept for length in range(1, len(path) + 1)}
    result = without(result, before - wanted - above)
    entry = _entry(manager, APPLY, version, now)
    return _with(result, [*others, (entry, wanted)]), [] if force else conflicts


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
    if not strangers_json.is_bounded(step.encode()):
        return False
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
