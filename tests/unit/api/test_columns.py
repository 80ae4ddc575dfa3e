"""What `kubectl get` prints of objects: the columns and cells of a Kubernetes API server."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.tables import table, table_of

Json = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
CPU: Json = {
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    "type": "Resource",
}
QUEUE: Json = {"external": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "30"}}}


def printed(key: str, one: Json) -> dict[str, Any]:
    """The cells of one object by the names of their columns; wide ones are written in lower case."""
    full: Json = {
        "kind": key,
        "metadata": {"name": "x", "creationTimestamp": "2026-11-29T10:00:00Z", **one.pop("metadata", {})},
        **one,
    }
    shown = table(table_of(key), [full], "1", 1796000000.0, "None")
    names = [each["name"].lower() if each["priority"] else each["name"] for each in shown["columnDefinitions"]]
    cells = dict(zip(names, shown["rows"][0]["cells"], strict=True))
    cells.pop("Age", None)
    return cells


@pytest.mark.parametrize(
    ("key", "one", "cells"),
    [
        (
            "priorityclasses.scheduling.k8s.io",
            {"value": 10, "preemptionPolicy": "Never"},
            {"Name": "x", "Value": 10, "Global-Default": False, "PreemptionPolicy": "Never"},
        ),
        (
            "horizontalpodautoscalers.autoscaling",
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "w"},
                    "maxReplicas": 3,
                    "metrics": [CPU, QUEUE],
                }
            },
            {
                "Name": "x",
                "Reference": "Deployment/w",
                "Targets": "cpu: <unknown>/50%, <unknown>/30",
                "MinPods": "<unset>",
                "MaxPods": 3,
                "Replicas": 0,
            },
        ),
        (
            "storageclasses.storage.k8s.io",
            {
                "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                "provisioner": "p",
                "volumeBindingMode": "WaitForFirstConsumer",
            },
            {
                "Name": "x (default)",
                "Provisioner": "p",
                "ReclaimPolicy": "Delete",
                "VolumeBindingMode": "WaitForFirstConsumer",
                "AllowVolumeExpansion": False,
            },
        ),
        (
            "ingressclasses.networking.k8s.io",
            {"spec": {"controller": "c", "parameters": {"apiGroup": "g", "kind": "K", "name": "n"}}},
            {"Name": "x", "Controller": "c", "Parameters": "K.g/n"},
        ),
        (
            f"rolebindings.{RBAC}",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}],
            },
            {"Name": "x", "Role": "Role/r", "users": "u", "groups": "", "serviceaccounts": "n/s"},
        ),
        (f"clusterroles.{RBAC}", {}, {"Name": "x", "Created At": "2026-11-29T10:00:00Z"}),
        (
            "persistentvolumeclaims",
            {"spec": {"accessModes": ["ReadWriteMany"], "volumeMode": "Filesystem"}, "status": {"phase": "Pending"}},
            {
                "Name": "x",
                "Status": "Pending",
                "Volume": "",
                "Capacity": "",
                "Access Modes": "",
                "StorageClass": "",
                "VolumeAttributesClass": "<unset>",
                "volumemode": "Filesystem",
            },
        ),
    ],
)
def test_kubectl_is_given_the_columns_of_an_api_server(key: str, one: Json, cells: Json) -> None:
    assert printed(key, one) == cells
