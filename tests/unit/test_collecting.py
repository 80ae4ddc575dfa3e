"""What is deleted with its owner, and whose owner somebody is."""

from __future__ import annotations

from typing import Any

from controller.objects import collecting
from controller.objects.collecting import Step


def one(name: str, namespace: str, *owners: str, **metadata: Any) -> tuple[str, dict[str, Any]]:
    references = [{"uid": uid, "blockOwnerDeletion": True} for uid in owners]
    named = {"name": name, "namespace": namespace, "uid": name, "ownerReferences": references}
    return "configmaps", {"metadata": {**named, **metadata}}


def test_an_owner_of_another_namespace_is_none_and_one_without_a_namespace_is_one() -> None:
    owners = (one("here", "a"), one("there", "b"), one("everywhere", ""))
    kept = (one("k1", "a", "here"), one("k2", "a", "everywhere"), one("k3", "a", "there", "here"))
    assert collecting.plan((*owners, *kept), ()) == [Step("disown", "configmaps", "a", "k3", owner="there")]
    assert collecting.plan((*owners, one("stray", "a", "there")), ()) == [Step("delete", "configmaps", "a", "stray")]


def test_nobody_of_another_namespace_holds_back_a_deletion() -> None:
    waits = one("owner", "a", deletionTimestamp="now", finalizers=[collecting.FOREGROUND])
    assert Step("release", "configmaps", "a", "owner") in collecting.plan((waits, one("stray", "b", "owner")), ())
    assert collecting.plan((waits, one("own", "a", "owner")), ()) == [
        Step("delete", "configmaps", "a", "own", "Foreground")
    ]


def test_only_who_says_so_holds_back_its_owner() -> None:
    waits = one("owner", "a", deletionTimestamp="now", finalizers=[collecting.FOREGROUND])
    lax = one("lax", "a", ownerReferences=[{"uid": "owner"}])
    assert Step("release", "configmaps", "a", "owner") in collecting.plan((waits, lax), ())


def test_what_an_orphaned_owner_had_is_let_go_before_the_owner_is() -> None:
    leaves = one("owner", "a", deletionTimestamp="now", finalizers=[collecting.ORPHAN])
    assert collecting.plan((leaves, one("own", "a", "owner")), ()) == [
        Step("disown", "configmaps", "a", "own", owner="owner"),
        Step("release", "configmaps", "a", "owner"),
    ]
