"""What a manifest may say and nothing here acts upon is told in a sentence, or refused; never passed over."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.all_kinds import KEPT
from controller.objects import admission
from controller.objects.fields import Invalid

Json = dict[str, Any]
TEMPLATE: Json = {"spec": {"containers": [{"name": "a", "image": "b"}], "restartPolicy": "Never"}}
VOLUME: Json = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "nfs": {"server": "s", "path": "/"}}
CLAIM: Json = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
SERVICE: Json = {"selector": {"app": "a"}, "ports": [{"port": 80}]}


def told(kind: str, spec: Json, labels: Json | None = None) -> list[str]:
    """The warnings for an object of this kind; raises Invalid."""
    resource = next(one for one in KEPT if one.kind == kind)
    how = admission.How(warnings=[])
    one = admission.read(resource, {"metadata": {"name": "x", "labels": labels or {}}, "spec": spec}, how)
    admission.checked(resource, admission.fresh(resource, one, "default", 0.0), None, how)
    return how.warnings


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("Service", {**SERVICE, "trafficDistribution": "PreferSameZone"}, "trafficDistribution"),
        ("PersistentVolume", {**VOLUME, "persistentVolumeReclaimPolicy": "Delete"}, "persistentVolumeReclaimPolicy"),
        ("PersistentVolume", {**VOLUME, "nodeAffinity": {"required": {"nodeSelectorTerms": []}}}, "nodeAffinity"),
        ("PersistentVolume", {**VOLUME, "volumeAttributesClassName": "gold"}, "volumeAttributesClassName"),
        ("PersistentVolumeClaim", {**CLAIM, "volumeAttributesClassName": "gold"}, "volumeAttributesClassName"),
        ("PersistentVolumeClaim", {**CLAIM, "dataSource": {"kind": "VolumeSnapshot", "name": "s"}}, "dataSource"),
        ("PersistentVolumeClaim", {**CLAIM, "dataSourceRef": {"kind": "Any", "name": "s"}}, "dataSourceRef"),
    ],
)
def test_a_field_without_effect_is_told(kind: str, spec: Json, field: str) -> None:
    assert any(said.startswith(f"spec.{field}: ") and "no effect" in said for said in told(kind, spec))


def test_a_standard_that_pods_are_not_held_to_is_told() -> None:
    label = "pod-security.kubernetes.io/enforce"
    (said,) = told("Namespace", {}, {label: "restricted", "team": "a"})
    assert said.startswith(f"metadata.labels[{label}]: it has no effect: ")


def test_what_has_its_effect_is_told_nothing_of() -> None:
    assert told("Service", SERVICE) == []
    assert told("PersistentVolume", {**VOLUME, "persistentVolumeReclaimPolicy": "Retain"}) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"selector": {"matchLabels": {"app": "mine"}}}, "selector"),
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, "selector"),
        ({"manualSelector": True}, "manualSelector"),
    ],
)
def test_a_job_that_would_choose_its_pods_is_refused_in_a_cron_job_too(spec: Json, field: str) -> None:
    job = {"template": TEMPLATE, **spec}
    with pytest.raises(Invalid, match=rf"spec\.{field}"):
        told("Job", job)
    with pytest.raises(Invalid, match=rf"spec\.jobTemplate\.spec\.{field}"):
        told("CronJob", {"schedule": "* * * * *", "jobTemplate": {"spec": job}})
    shown = {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "another's"}}}
    assert told("Job", {"template": TEMPLATE, **shown}) == []
