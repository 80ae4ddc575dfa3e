"""What nobody controls goes to who selects it, and what is selected no more is let go of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.objects.selectors import matches
from controller.workloads import owner_changes

Json = dict[str, Any]


def owner(kind: str, name: str, app: str, namespace: str = "n", **metadata: Any) -> Json:
    selector = {"app": app} if kind == "ReplicationController" else {"matchLabels": {"app": app}}
    named = {"name": name, "namespace": namespace, "uid": f"o-{name}", **metadata}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": named, "spec": {"selector": selector}}


def pod(name: str, app: str, *controllers: str, phase: str = "Running", **metadata: Any) -> Json:
    references = [{"uid": uid, "controller": True} for uid in controllers]
    named = {"name": name, "namespace": "n", "uid": f"p-{name}", "labels": {"app": app}, "ownerReferences": references}
    return {"metadata": {**named, **metadata}, "status": {"phase": phase}}


def handed(key: str, owners: list[Json], pods: list[Json]) -> dict[str, str]:
    """Whose each pod is in the end, where every change is made twice."""
    by_name = {one["metadata"]["name"]: one for one in pods}
    for step in list(owner_changes.plan(key, owners, "pods", pods)) * 2:
        by_name[step.name] = step.applied(by_name[step.name])
    references = {name: one["metadata"]["ownerReferences"] for name, one in by_name.items()}
    return {name: each["uid"] for name, listed in references.items() for each in listed if each.get("controller")}


@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
def test_a_stray_is_of_the_first_that_selects_it_and_what_has_a_controller_keeps_it(kind: str) -> None:
    owners = [owner(kind, "other", "x"), owner(kind, "web", "web"), owner(kind, "far", "web", namespace="m")]
    pods = [pod("stray", "web"), pod("held", "web", "somebody"), pod("over", "web", phase="Succeeded"), pod("no", "y")]
    pods.append(pod("ending", "web", deletionTimestamp="now"))
    assert handed("replicasets.apps", owners, pods) == {"stray": "o-web", "held": "somebody"}


def test_who_is_selected_no_more_is_let_go_of_and_then_anybodys() -> None:
    owners = [owner("ReplicaSet", "web", "web"), owner("ReplicaSet", "next", "next")]
    pods = [pod("moved", "next", "o-web")]
    assert handed("replicasets.apps", owners, pods) == {}
    assert handed("replicasets.apps", owners, [pod("moved", "next")]) == {"moved": "o-next"}


def test_who_is_being_deleted_gets_nothing_and_loses_nothing() -> None:
    ending = owner("ReplicaSet", "web", "web", deletionTimestamp="now")
    assert handed("replicasets.apps", [ending], [pod("stray", "web"), pod("moved", "y", "o-web")]) == {"moved": "o-web"}


def test_a_stateful_set_takes_its_own_names_only() -> None:
    owners = [owner("StatefulSet", "db", "db")]
    pods = [pod(name, "db") for name in ("db-0", "db-12", "db-x", "other-0", "db")]
    assert handed("statefulsets.apps", owners, pods) == {"db-0": "o-db", "db-12": "o-db"}


def test_another_object_of_the_same_name_stays_as_it_is() -> None:
    (step,) = owner_changes.plan("replicasets.apps", [owner("ReplicaSet", "web", "web")], "pods", [pod("stray", "web")])
    another = pod("stray", "web")
    another["metadata"]["uid"] = "later"
    assert step.applied(another) is another


NAMES, VALUES = st.sampled_from(["app", "tier", "hash"]), st.sampled_from(["a", "b", "c"])
LABELS = st.dictionaries(NAMES, VALUES, max_size=3)
ASKED = st.fixed_dictionaries({"key": NAMES, "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"])})
EXPRESSIONS = st.lists(st.builds(lambda one, values: {**one, "values": values}, ASKED, st.lists(VALUES)), max_size=2)
PARTS: dict[str, st.SearchStrategy[Any]] = {"matchLabels": LABELS, "matchExpressions": EXPRESSIONS}
SELECTORS = st.none() | st.fixed_dictionaries({}, optional=PARTS)
SPACES = st.sampled_from(["n", "m"])


@given(st.lists(st.tuples(SPACES, SELECTORS)), st.lists(st.tuples(SPACES, LABELS)))
def test_a_stray_is_of_the_first_of_all_owners_that_selects_it_whatever_selectors_are_made_of(
    selecting: list[tuple[str, Json | None]], labelled: list[tuple[str, Json]]
) -> None:
    owners = [owner("ReplicaSet", f"{number}", "", space) for number, (space, _) in enumerate(selecting)]
    for one, (_, selector) in zip(owners, selecting, strict=True):
        one["spec"] = {"selector": selector}
    strays = [pod(f"{number}", "", namespace=n, labels=labels) for number, (n, labels) in enumerate(labelled)]
    first: dict[str, str] = {}
    for number, (space, labels) in enumerate(labelled):
        for place, (beside, selector) in enumerate(selecting):
            if beside == space and matches(selector, labels):
                first.setdefault(f"{number}", f"o-{place}")
    assert handed("replicasets.apps", owners, strays) == first
