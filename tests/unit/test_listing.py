"""Lists by name whatever came and went, and which fields a change has changed."""

from __future__ import annotations

import operator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.objects import managed
from controller.objects.collection import Objects, RevisionCounter
from controller.objects.schema.pods import Pod
from controller.objects.shapes import shape_of

Json = dict[str, Any]
PLACES = st.tuples(st.sampled_from(["a", "b", "c-d"]), st.sampled_from(["x", "y", "z", "x-1", "x.1"]))


@given(st.lists(st.tuples(st.booleans(), PLACES), max_size=40), PLACES)
def test_objects_are_listed_by_name_as_a_whole_by_namespace_and_from_any_place_on(
    steps: list[tuple[bool, tuple[str, str]]], place: tuple[str, str]
) -> None:
    objects, there = Objects(RevisionCounter(1)), set[tuple[str, str]]()
    for comes, (namespace, name) in steps:
        if comes:
            objects.put({"metadata": {"namespace": namespace, "name": name}})
            there.add((namespace, name))
        else:
            objects.drop(namespace, name)
            there.discard((namespace, name))

    def places(listed: Any) -> list[tuple[str, str]]:
        return [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in listed]

    assert places(objects.list()) == sorted(there)
    assert places(objects.list("a")) == sorted(one for one in there if one[0] == "a")
    assert places(objects.after(place)) == sorted(one for one in there if one > place)
    assert places(objects.after(place, "b")) == sorted(one for one in there if one > place and one[0] == "b")
    assert objects.count("a") == len([one for one in there if one[0] == "a"])


NAME = operator.itemgetter("name")
NAMES, WORDS = st.sampled_from(["a", "b"]), st.sampled_from(["1", "2", ""])
CONTAINER = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "image": WORDS,
        "args": st.lists(WORDS, max_size=2),
        "env": st.lists(st.fixed_dictionaries({"name": NAMES}, optional={"value": WORDS}), max_size=2, unique_by=NAME),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 2)}), max_size=1),
        "resources": st.fixed_dictionaries({}, optional={"limits": st.dictionaries(NAMES, WORDS, max_size=2)}),
    },
)
METADATA = st.fixed_dictionaries(
    {"name": st.just("p")},
    optional={
        "labels": st.dictionaries(NAMES, WORDS, max_size=2),
        "finalizers": st.lists(NAMES, max_size=2, unique=True),
        "ownerReferences": st.lists(st.fixed_dictionaries({"uid": NAMES, "kind": WORDS}), max_size=1),
    },
)
POD = st.fixed_dictionaries(
    {"metadata": METADATA},
    optional={
        "spec": st.fixed_dictionaries({}, optional={"containers": st.lists(CONTAINER, max_size=2, unique_by=NAME)})
    },
)


@given(POD, POD)
def test_whoever_changes_an_object_has_each_field_that_is_another_one_now(before: Json, after: Json) -> None:
    shape = shape_of(Pod)
    written = managed.updated(before, after, shape, "me", "v1", "now")
    held = dict.fromkeys(managed.paths(after, shape))
    was, found = managed.values(before, held), managed.values(after, held)
    differ = {one for one in held if was[one] != found[one]}
    entries = managed.entries_of(written)
    assert (entries[0][1] if entries else set()) == differ


def test_a_container_that_its_manager_applies_no_more_is_gone() -> None:
    shape = shape_of(Pod)
    names: list[Json] = [{"name": name, "image": "i"} for name in ("web", "sidecar")]
    pod: Json = {"metadata": {"name": "p"}, "spec": {"containers": names}}
    both, _ = managed.applied({"metadata": {}}, pod, shape, "me", "v1", "now", force=False)
    one, conflicts = managed.applied(
        both, {**pod, "spec": {"containers": names[:1]}}, shape, "me", "v1", "later", force=False
    )
    assert conflicts == []
    assert one["spec"] == {"containers": names[:1]}
