"""A claim is kept while a pod with a cell has it, and a volume while it is bound; nobody else is."""

from __future__ import annotations

from typing import Any

from controller.objects import protection

Json = dict[str, Any]
PVC, PV = protection.CLAIM_PROTECTION, protection.VOLUME_PROTECTION


def claim(name: str, *finalizers: str, **metadata: Any) -> Json:
    named = {"namespace": "n", "name": name, "uid": name, "finalizers": list(finalizers)}
    return {"metadata": {**named, **metadata}}


def volume(name: str, phase: str, *finalizers: str, **metadata: Any) -> Json:
    named = {"name": name, "uid": name, "finalizers": list(finalizers), **metadata}
    return {"metadata": named, "status": {"phase": phase}}


def pod(name: str, node: str = "", namespace: str = "n") -> Json:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]
    return {"metadata": {"namespace": namespace, "name": "p"}, "spec": {"volumes": volumes, "nodeName": node}}


def left(claims: list[Json], volumes: list[Json], pods: list[Json]) -> dict[str, list[str]]:
    """The finalizers of everything in the end."""
    listed = {one["metadata"]["name"]: one for one in (*claims, *volumes)}
    for step in protection.plan(claims, volumes, pods):
        listed[step.name] = step.applied(listed[step.name])
    return {name: one["metadata"]["finalizers"] for name, one in listed.items()}


def test_only_a_pod_of_the_same_namespace_that_has_a_cell_keeps_a_claim() -> None:
    claims = [claim(name, "a/b", PVC, deletionTimestamp="now") for name in ("used", "asked", "elsewhere", "unused")]
    pods = [pod("used", "c-1"), pod("asked"), pod("elsewhere", "c-2", namespace="m")]
    assert left(claims, [], pods) == {"used": ["a/b", PVC], "asked": ["a/b"], "elsewhere": ["a/b"], "unused": ["a/b"]}


def test_only_a_bound_volume_is_kept() -> None:
    volumes = [volume(name, name, PV, deletionTimestamp="now") for name in ("Bound", "Released", "Available")]
    assert left([], volumes, []) == {"Bound": [PV], "Released": [], "Available": []}


def test_what_an_earlier_version_made_gets_its_finalizer_unless_it_is_being_deleted() -> None:
    claims, volumes = [claim("old"), claim("ending", deletionTimestamp="now")], [volume("disk", "Available")]
    assert left(claims, volumes, []) == {"old": [PVC], "ending": [], "disk": [PV]}
    assert not list(protection.plan([claim("new", PVC)], [volume("disk", "Bound", PV)], []))


def test_another_object_of_the_same_name_stays_as_it_is() -> None:
    (step,) = protection.plan([claim("gone", PVC, deletionTimestamp="now")], [], [])
    another = claim("gone", PVC, uid="later")
    assert step.applied(another) is another
