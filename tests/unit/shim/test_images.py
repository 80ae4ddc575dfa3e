"""What is listed of images for a whole node, of what single cells tell of them."""

from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.shim.images import LONGEST_NAME, MOST_NAMES, listed_as

ID = "sha256:" + "a" * 64
ASKED = "r.example/shop/web:1"


def test_a_cell_names_an_image_by_what_it_was_asked_to_pull_and_nothing_else() -> None:
    told = cri.Image(
        id=ID,
        size=7,
        uid=cri.Int64Value(value=1002),
        repo_tags=[ASKED, "r.example/shop/web-of-others:1", "r.example/bank:1", "r.example/shop/web"],
        repo_digests=["r.example/shop/web@sha256:" + "b" * 64, "r.example/bank@sha256:" + "b" * 64],
        pinned=True,
    )
    found = listed_as(told, ASKED, None)
    assert (found.id, found.size, found.uid.value, found.pinned) == (ID, 7, 1002, False)
    assert list(found.repo_tags) == [ASKED]
    assert list(found.repo_digests) == ["r.example/shop/web@sha256:" + "b" * 64]
    assert not listed_as(told, "no reference", None).repo_tags


def test_names_of_docker_hub_are_known_in_their_short_form() -> None:
    told = cri.Image(id=ID, repo_tags=["docker.io/library/busybox:1"])
    assert list(listed_as(told, "busybox:1", None).repo_tags) == ["docker.io/library/busybox:1"]


def test_what_one_cell_has_told_of_an_image_another_adds_to_and_changes_not() -> None:
    known = listed_as(cri.Image(id=ID, size=7, repo_tags=["r.example/bank:1"]), "r.example/bank:1", None)
    found = listed_as(cri.Image(id=ID, size=1 << 60, username="x", repo_tags=[ASKED]), ASKED, known)
    assert (found.size, found.username) == (7, "")
    assert list(found.repo_tags) == ["r.example/bank:1", ASKED]


def test_names_without_end_are_cut_off() -> None:
    many = [f"r.example/shop/web:{number}" for number in range(10_000)]
    found = listed_as(
        cri.Image(id=ID, username="u" * 200_000, repo_tags=["r.example/shop/web:" + "1" * 600, *many]), ASKED, None
    )
    assert (len(found.repo_tags), len(found.username)) == (MOST_NAMES, LONGEST_NAME)
    assert found.ByteSize() < 2 * MOST_NAMES * LONGEST_NAME
