"""Claims get the volumes that somebody made for them, one each, and keep them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.workloads import binding

Json = dict[str, Any]
_numbers = itertools.count()


def claim(name: str, size: str = "1Gi", modes: tuple[str, ...] = ("ReadWriteOnce",), **spec: Any) -> Json:
    number = next(_numbers)
    full = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, **spec}
    metadata = {"name": name, "namespace": "n", "uid": f"c{number}", "creationTimestamp": f"{number:09}"}
    return {"metadata": metadata, "spec": full, "status": {"phase": "Pending"}}


def volume(name: str, size: str = "1Gi", labels: Json | None = None, **spec: Any) -> Json:
    usual = {"accessModes": ["ReadWriteOnce", "ReadWriteMany"], "capacity": {"storage": size}}
    full = {**usual, "nfs": {"server": "s", "path": "/"}, **spec}
    metadata = {"name": name, "uid": f"v-{name}", "labels": labels or {}}
    return {"metadata": metadata, "spec": full, "status": {"phase": "Available"}}


def settled(claims: list[Json], volumes: list[Json], cut: int | None = None) -> dict[str, str]:
    """What each claim has in the end; where writing is cut off after so many, it goes on anew."""
    for _ in range(10):
        writes = binding.plan(claims, volumes)
        if not writes:
            break
        for write in writes[:cut]:
            listed = claims if write.key == binding.CLAIMS else volumes
            listed[:] = [write.applied(one) if one["metadata"]["uid"] == write.uid else one for one in listed]
        cut = None
    bound = {one["metadata"]["name"]: one["spec"]["volumeName"] for one in claims if one["status"]["phase"] == "Bound"}
    for one in volumes:
        owner = (one["spec"].get("claimRef") or {}).get("name")
        if one["status"]["phase"] == "Bound":
            assert bound[owner] == one["metadata"]["name"]
    return bound


def test_a_claim_has_the_smallest_volume_that_is_large_enough_and_the_rest_stays_available() -> None:
    volumes = [volume("huge", "100Gi"), volume("right", "5Gi"), volume("small", "1Gi")]
    assert settled([claim("data", "2Gi")], volumes) == {"data": "right"}
    assert [one["status"]["phase"] for one in volumes] == ["Available", "Bound", "Available"]


@pytest.mark.parametrize(
    ("wanted", "has"),
    [
        ({"storageClassName": "efs"}, {}),
        ({}, {"storageClassName": "efs"}),
        ({"modes": ("ReadOnlyMany",)}, {}),
        ({"size": "2Gi"}, {}),
        ({"selector": {"matchLabels": {"a": "b"}}}, {"labels": {"a": "c"}}),
        ({"volumeName": "other"}, {}),
        ({}, {"claimRef": {"namespace": "n", "name": "somebody"}}),
        ({}, {"claimRef": {"namespace": "n", "name": "data", "uid": "of an earlier claim"}}),
    ],
)
def test_a_claim_waits_where_no_volume_is_for_it(wanted: Json, has: Json) -> None:
    assert settled([claim("data", **wanted)], [volume("v", **has)]) == {}


def test_a_volume_that_is_kept_for_a_claim_goes_to_it_though_another_is_smaller() -> None:
    volumes = [volume("a"), volume("kept", "9Gi", claimRef={"namespace": "n", "name": "data"})]
    assert settled([claim("other"), claim("data")], volumes) == {"data": "kept", "other": "a"}


def test_a_volume_whose_claim_went_is_released_and_given_to_nobody() -> None:
    claims, volumes = [claim("data")], [volume("v")]
    settled(claims, volumes)
    assert settled([claim("data")], volumes) == {}, "what the first one wrote is still there"
    assert volumes[0]["status"]["phase"] == "Released"


def test_a_claim_whose_volume_went_is_lost() -> None:
    claims, volumes = [claim("data")], [volume("v")]
    settled(claims, volumes)
    settled(claims, [])
    assert claims[0]["status"]["phase"] == "Lost"


@given(st.lists(st.integers(1, 4), max_size=6), st.lists(st.integers(1, 4), max_size=6), st.integers(0, 12))
def test_whoever_is_killed_in_between_no_volume_has_two_claims(sizes: list[int], there: list[int], cut: int) -> None:
    claims = [claim(f"c{index}", f"{size}Gi") for index, size in enumerate(sizes)]
    volumes = [volume(f"v{index}", f"{size}Gi") for index, size in enumerate(there)]
    bound = settled(claims, volumes, cut)
    assert len(set(bound.values())) == len(bound)
    assert binding.plan(claims, volumes) == []


def test_a_claim_and_its_volume_keep_each_other_while_they_are_being_deleted() -> None:
    held, disk = claim("data"), volume("disk")
    claims, volumes = [held], [disk]
    settled(claims, volumes)
    for listed in (claims, volumes):
        listed[0] = {**listed[0], "metadata": {**listed[0]["metadata"], "deletionTimestamp": "now"}}
    assert settled(claims, volumes) == {"data": "disk"}
    assert settled([], volumes) == {}
    assert volumes[0]["status"]["phase"] == "Released"


def test_what_is_being_deleted_is_bound_to_nothing_new() -> None:
    ending = volume("ending")
    ending["metadata"]["deletionTimestamp"] = "now"
    assert settled([claim("data")], [ending]) == {}
    gone = claim("gone")
    gone["metadata"]["deletionTimestamp"] = "now"
    assert settled([gone], [volume("free")]) == {}
