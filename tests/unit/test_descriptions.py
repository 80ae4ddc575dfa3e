"""Each field of pods and of what makes them is explained."""

from __future__ import annotations

import re

from controller.api.all_kinds import KEPT
from controller.objects import openapi
from controller.objects.schema.base import Part
from controller.objects.shapes import ValueShape, fields_of

KINDS = {
    *("Pod", "Deployment", "ReplicaSet", "StatefulSet", "Job", "CronJob", "DaemonSet", "ReplicationController"),
    *("Service", "ConfigMap", "Secret", "Namespace", "ServiceAccount", "PersistentVolumeClaim"),
}


def types(kind: type[Part], found: set[type[Part]]) -> set[type[Part]]:
    """A type and all that it is made of."""
    if kind not in found:
        found.add(kind)
        for field in fields_of(kind).values():
            shape: ValueShape | None = field.shape
            while shape is not None:
                if shape.type is not None:
                    types(shape.type, found)
                shape = shape.item
    return found


def test_each_field_of_pods_and_workloads_has_a_sentence() -> None:
    found: set[type[Part]] = set()
    for resource in KEPT:
        if resource.kind in KINDS:
            types(resource.type, found)
    assert len(found) > 150
    fields = [(kind, name) for kind in found for name in fields_of(kind)]
    missing = sorted({f"{kind.__name__}.{name}" for kind, name in fields if not openapi.description(kind, name)})
    assert not missing, missing
    for kind, name in fields:
        assert re.fullmatch(r"[A-Z0-9].{3,140}\.", openapi.description(kind, name)), f"{kind.__name__}.{name}"


def test_the_document_of_a_group_tells_them() -> None:
    document = openapi.document([one for one in KEPT if one.kind == "Pod"], "1")
    spec = document["components"]["schemas"]["io.k8s.api.pods.PodSpec"]["properties"]
    assert spec["containers"]["description"].startswith("The containers that run together")
